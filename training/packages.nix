# A package set in the manner of the large ones. `generated` is the text that training.py makes: hundreds of packages.
{ system ? "x86_64-linux", config ? { }, overlays ? [ ], generated }:
let
  lib = import ./lib.nix;
  inherit (lib) optional optionals optionalString makeSearchPath;

  stdenvOf = { name, shell, initial ? [ ], extra ? { } }:
    let
      mkDerivation =
        { name ? ""
        , buildInputs ? [ ]
        , nativeBuildInputs ? [ ]
        , propagatedBuildInputs ? [ ]
        , outputs ? [ "out" ]
        , meta ? { }
        , passthru ? { }
        , patches ? [ ]
        , doCheck ? false
        , configureFlags ? [ ]
        , ...
        }@attrs:
        let
          position = if attrs ? meta && attrs.meta ? description
            then builtins.unsafeGetAttrPos "description" attrs.meta
            else builtins.unsafeGetAttrPos "name" attrs;
          allowed = licence: !(builtins.isAttrs licence && (licence.unfree or false)) || (config.allowUnfree or false);
          checked = x:
            if !(allowed (meta.license or { })) then throw "‘${name}’ is not free, in ${toString position}"
            else if meta.broken or false then throw "‘${name}’ is broken"
            else assert outputs != [ ]; x;
          inputs = map (x: x.dev or x.out or x) (lib.flatten (nativeBuildInputs ++ buildInputs));
          arguments = removeAttrs attrs [ "meta" "passthru" "pos" ] // {
            inherit system outputs;
            builder = attrs.realBuilder or shell;
            args = attrs.args or [ "-e" (attrs.builder or (builtins.toFile "builder.sh" "source $stdenv/setup; genericBuild")) ];
            stdenv = result;
            userHook = config.stdenv.userHook or null;
            __ignoreNulls = true;
            buildInputs = if doCheck then inputs ++ (attrs.checkInputs or [ ]) else inputs;
            propagatedBuildInputs = map toString propagatedBuildInputs;
            configureFlags = configureFlags ++ optional (builtins.elem "dev" outputs) "--includedir=$dev/include";
            CFLAGS = "-O2" + optionalString doCheck " -DCHECK" + " -I${lib.makeSearchPath "include" inputs}";
          };
        in lib.addPassthru (checked (derivation arguments)) ({
          inherit name passthru;
          meta = { inherit position; platforms = lib.platforms.all; priority = 5; } // meta
            // lib.optionalAttrs (meta ? maintainers) { maintainers = map (m: m) meta.maintainers; };
          overrideAttrs = f: mkDerivation (attrs // f attrs);
        } // passthru);
      result = derivation ({
        inherit name system;
        builder = shell;
        args = [ "-c" "echo ${toString initial} > $out" ];
        setup = builtins.toFile "setup.sh" "genericBuild() { for phase in $phases; do $phase; done; }";
        initialPath = initial;
      } // extra) // {
        inherit mkDerivation system shell;
        isLinux = system == "x86_64-linux" || system == "i686-linux";
        isDarwin = builtins.elem system lib.platforms.darwin;
        is64bit = lib.hasPrefix "x86_64" system;
        cc = null;
      };
    in result;

  boot0 = stdenvOf { name = "stdenv-boot"; shell = "/bin/sh"; };
  boot1 = stdenvOf { name = "stdenv"; shell = "${(set boot0).bash}/bin/bash"; initial = with set boot0; [ coreutils sed grep gawk tar gzip bzip2 make patch xz ]; };

  fetchurl = { stdenv }: { url ? "", urls ? [ ], sha256 ? "", name ? "", ... }@arguments:
    assert sha256 != "";
    let
      candidates = (if urls != [ ] then urls else [ url ]);
      mirror = u:
        let found = builtins.match "mirror://([a-z]+)/(.*)" u; in
        if found == null then [ u ] else map (m: m + builtins.elemAt found 1) mirrors.${builtins.head found};
    in stdenv.mkDerivation ({
      name = if name != "" then name else baseNameOf (toString (builtins.head candidates));
      urls = lib.concatMapStrings (u: u + " ") (builtins.concatLists (map mirror candidates));
      outputHashAlgo = "sha256"; outputHash = sha256; outputHashMode = "flat";
      preferLocalBuild = true;
    });
  mirrors = {
    gnu = [ "http://ftp.gnu.org/gnu/" "http://ftp.nluug.nl/pub/gnu/" ];
    sourceforge = [ "http://prdownloads.sourceforge.net/" "http://heanet.dl.sourceforge.net/sourceforge/" ];
    kernel = [ "http://www.all.kernel.org/pub/" ];
  };

  set = stdenv:
    let
      own = self: with self; {
        inherit lib stdenv system config;
        callPackage = lib.callPackageWith (self // self.xorg);
        fetchurl = lib.makeOverridable fetchurl { inherit stdenv; };
        writeText = name: text: stdenv.mkDerivation { inherit name text; passAsFile = [ "text" ]; builder = "/bin/sh"; };
        buildEnv = { name, paths, pathsToLink ? [ "/" ] }: stdenv.mkDerivation {
          inherit name pathsToLink;
          packages = builtins.toJSON (map (p: { paths = [ "${p}" ]; priority = p.meta.priority or 5; }) paths);
        };
        xorg = let scope = self // xorg; xorg = lib.genAttrs [ "libX11" "libXext" "libXrender" "xproto" "libxcb" ] (name:
          (lib.callPackageWith scope) ({ stdenv, fetchurl, zlib }: stdenv.mkDerivation {
            name = "${name}-1.${toString (builtins.stringLength name)}";
            src = fetchurl { url = "mirror://kernel/x/${name}.tar.bz2"; sha256 = builtins.hashString "sha256" name; };
            buildInputs = [ zlib ] ++ lib.optionals (name != "xproto") [ scope.xproto ];
            meta = { description = "part ${name} of X"; };
          }) { }); in xorg;
        pythonPackages = lib.fix (python: let
            build = { name, propagated ? [ ], ... }@attrs: stdenv.mkDerivation (removeAttrs attrs [ "propagated" ] // {
              name = "python2.7-${name}";
              propagatedBuildInputs = propagated ++ [ self.bash ];
            });
          in builtins.listToAttrs (map (n: lib.nameValuePair "module${toString n}" (build rec {
            name = "module${toString n}-${version}";
            version = "${toString (n / 7)}.${toString n}";
            propagated = lib.optionals (n > 2) [ python."module${toString (n - 1)}" python."module${toString (n / 2)}" ];
            src = self.fetchurl { url = "https://example.org/packages/${builtins.substring 0 1 name}/${name}.tar.gz"; sha256 = builtins.hashString "sha256" name; };
            meta = with lib; { homepage = "https://example.org/${name}"; maintainers = with maintainers; [ person1 person7 ]; };
          })) (lib.range 1 60)));
      } // import generated self;
    in lib.fix (builtins.foldl' (lib.flip lib.extends) own (overlays ++ lib.optional (config ? packageOverrides)
      (self: super: config.packageOverrides super)));
in set boot1
