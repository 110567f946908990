# Long-running programs, each kept running by a small supervisor of its own, and a `systemctl` that knows them.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  service = { name, ... }: {
    options = {
      description = mkOption { type = types.str; default = name; };
      script = mkOption { type = types.lines; };
      after = mkOption { type = types.listOf types.str; default = [ ]; };
      environment = mkOption { type = types.attrsOf types.str; default = { }; };
      oneshot = mkOption { type = types.bool; default = false; };
      restart = mkOption { type = types.bool; default = true; };
      enable = mkOption { type = types.bool; default = true; };
    };
  };
  enabled = builtins.filter (name: config.services.${name}.enable) (builtins.attrNames config.services);
  one = name:
    let it = config.services.${name};
    in {
      name = "services/${name}";
      value = pkgs.linkFarm "service-${name}" {
        run = pkgs.writeScript "service-${name}" (''
          export PATH=/run/current-system/sw/bin:/usr/bin:/usr/sbin
        '' + builtins.concatStringsSep "" (builtins.attrValues (builtins.mapAttrs (key: value: ''
          export ${key}=${value}
        '') it.environment)) + it.script);
        settings = pkgs.writeText "service-${name}-settings" ''
          oneshot=${if it.oneshot then "1" else ""}
          restart=${if it.restart then "1" else ""}
          after="${builtins.concatStringsSep " " it.after}"
        '';
      };
    };
in {
  options.services = mkOption { type = types.attrsOf (types.submodule service); default = { }; };
  config.system.content = builtins.listToAttrs (map one enabled);
  config.environment.packages = [
    (pkgs.run "systemctl" { text = builtins.readFile ./systemctl.sh; passAsFile = [ "text" ]; } ''
      mkdir -p "$out/bin"
      { echo "#!${pkgs.tools}/bin/sh"; cat "$textPath"; } >"$out/bin/systemctl"
      chmod +x "$out/bin/systemctl"
    '')
  ];
}
