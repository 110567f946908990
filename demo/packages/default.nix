# The demo's packages: a miniature of what nixpkgs is. There is no stdenv to download: the compiler is this machine's,
# let into the sandbox by the setting `sandbox-paths`.
{ system ? builtins.currentSystem }:

let
  # Calls a function with those of our packages that its arguments name.
  callPackage = file: overrides:
    let function = import file; in
    function (builtins.intersectAttrs (builtins.functionArgs function) packages // overrides);

  packages = {
    # A derivation whose builder is a shell script with `set -eu` and the host's compiler on its PATH.
    mkDerivation = { pname, version, outputs ? [ "out" ], buildCommand, meta ? { }, ... }@attributes:
      derivation (removeAttrs attributes [ "meta" ] // {
        name = "${pname}-${version}";
        inherit system outputs;
        builder = "/bin/sh";
        args = [ "-eu" "-c" buildCommand ];
        PATH = "/usr/bin:/bin";
        LC_ALL = "C";
      }) // { inherit pname version meta; };

    tally_1_0 = callPackage ./tally { version = "1.0"; };
    tally_1_1 = callPackage ./tally { version = "1.1"; };
    tally = packages.tally_1_1;

    poems = callPackage ./poems { };
    hello-tally = callPackage ./hello-tally { };
  };
in
removeAttrs packages [ "mkDerivation" ]
