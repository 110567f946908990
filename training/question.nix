# Everything that is asked: a number of packages, and a machine's configuration.
{ count }:
let
  generated = ./generated.nix;
  pkgs = import ./packages.nix {
    inherit generated;
    config = { allowUnfree = true; packageOverrides = super: { package3 = super.package3.override { tests = true; }; }; };
    overlays = [ (self: super: { package5 = super.package5.overrideAttrs (old: { FOO = "${self.package4}"; }); }) ];
  };
  inherit (pkgs) lib;
  drvPath = x: (builtins.tryEval x.drvPath).value;
in [
  (map (n: drvPath pkgs."package${toString n}") (lib.range 1 count))
  (map drvPath (builtins.attrValues pkgs.xorg))
  (lib.mapAttrsToList (name: value: "${name}: ${value.meta.description or ""}")
    (lib.filterAttrs (name: lib.isDerivation) pkgs))
  (import ./system.nix { inherit pkgs generated; }).drvPath
]
