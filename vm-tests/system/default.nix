# A system from a configuration: `nix-build vm-tests/system --arg configuration ./machine.nix`.
{ configuration ? { }, busyboxFolder ? /usr/bin }:
let
  lib = import ./modules.nix;
  pkgs = import ./packages.nix { inherit busyboxFolder; };
in (lib.evalModules {
  modules = [ ./modules/system.nix ./modules/services.nix configuration ];
  specialArgs = { inherit pkgs; };
}).config.system.build
