# A machine's configuration: services with options, users, files, and a derivation of them all.
{ pkgs, generated }:
let
  lib = import ./lib.nix;
  modules = import ./modules.nix lib;
  inherit (lib) optional optionalString concatMapStrings concatStringsSep mapAttrsToList genAttrs range mapAttrs';
  inherit (modules) mkOption mkIf mkMerge mkDefault mkForce types evalModules;

  service = n: { config, lib, ... }:
    let
      name = "service${toString n}";
      cfg = config.services.${name};
    in {
      options.services.${name} = {
        enable = mkOption { type = types.bool; default = false; description = "Whether to run ${name}."; };
        port = mkOption { type = types.int; default = 1000 + n; example = 80; };
        user = mkOption { type = types.str; default = "nobody"; };
        package = mkOption { type = types.package; default = pkgs."package${toString (n + 1)}"; };
        settings = mkOption { type = types.attrsOf types.str; default = { }; };
        hosts = mkOption {
          default = [ ];
          type = types.listOf (types.submodule {
            options = {
              name = mkOption { type = types.str; };
              weight = mkOption { type = types.int; default = 1; };
              aliases = mkOption { type = types.listOf types.str; default = [ ]; };
            };
          });
        };
        extraConfig = mkOption { type = types.lines; default = ""; };
      };
      config = mkIf cfg.enable {
        users.${cfg.user} = { uid = mkDefault (400 + n); groups = [ name ]; };
        services.${name}.settings = mkMerge [ { port = toString cfg.port; } (mkIf (cfg.port > 1010) { high = "yes"; }) ];
        etc."${name}/config".text = ''
          # ${name}
          ${concatStringsSep "\n" (mapAttrsToList (key: value: "${key} = ${value}") cfg.settings)}
          ${concatMapStrings (host: "host ${host.name} ${toString host.weight} ${toString host.aliases}\n") cfg.hosts}
          ${cfg.extraConfig}
        '';
        packages = [ cfg.package ];
        units.${name} = {
          description = "Service ${name}";
          after = [ "network.target" ] ++ optional (n > 3) "service${toString (n - 1)}.service";
          script = "exec ${cfg.package}/bin/${name} --port ${toString cfg.port}";
          environment = { HOME = "/var/lib/${name}"; } // lib.optionalAttrs (cfg.user != "nobody") { USER = cfg.user; };
        };
      };
    };

  base = { config, ... }: {
    options = {
      users = mkOption {
        default = { };
        type = types.attrsOf (types.submodule ({ config, ... }: {
          options = {
            uid = mkOption { type = types.nullOr types.int; default = null; };
            groups = mkOption { type = types.listOf types.str; default = [ ]; };
            shell = mkOption { type = types.str; default = "${pkgs.bash}/bin/bash"; };
          };
        }));
      };
      etc = mkOption {
        default = { };
        type = types.attrsOf (types.submodule {
          options = {
            text = mkOption { type = types.nullOr types.lines; default = null; };
            mode = mkOption { type = types.enum [ "symlink" "0644" "0600" ]; default = "symlink"; };
          };
        });
      };
      units = mkOption {
        default = { };
        type = types.attrsOf (types.submodule {
          options = {
            description = mkOption { type = types.str; default = ""; };
            after = mkOption { type = types.listOf types.str; default = [ ]; };
            script = mkOption { type = types.lines; };
            environment = mkOption { type = types.attrsOf types.str; default = { }; };
          };
        });
      };
      packages = mkOption { type = types.listOf types.package; default = [ ]; };
      system.build = mkOption { type = types.package; };
    };
    config = {
      packages = with pkgs; [ bash coreutils package1 package2 ];
      etc.passwd.text = concatMapStrings (line: line) (mapAttrsToList
        (name: user: "${name}:x:${toString user.uid}:${concatStringsSep "," user.groups}:${user.shell}\n") config.users);
      etc.passwd.mode = mkForce "0644";
      system.build = pkgs.stdenv.mkDerivation {
        name = "system-1.0";
        units = mapAttrsToList (name: unit: pkgs.writeText "unit-${name}.service" ''
          [Unit]
          Description=${unit.description}
          After=${toString unit.after}
          [Service]
          ${concatStringsSep "\n" (mapAttrsToList (key: value: "Environment=${key}=${lib.escapeShellArg value}") unit.environment)}
          ExecStart=${pkgs.writeText "start-${name}" unit.script}
        '') config.units;
        etc = builtins.toJSON (lib.filterAttrs (name: file: file.text != null) config.etc);
        environment = pkgs.buildEnv { name = "system-path"; paths = lib.unique config.packages; };
        manual = builtins.toFile "options" (builtins.unsafeDiscardStringContext (builtins.toXML (genAttrs [ "a" "b" ] (x: range 1 20))));
      };
    };
  };

  configuration = { config, ... }: {
    services = genAttrs (map (n: "service${toString n}") (range 1 24)) (name: {
      enable = true;
      user = if builtins.stringLength name > 8 then name else "shared";
      extraConfig = optionalString (config.services.service1.port > 10) "port of the first: ${toString config.services.service1.port}";
      hosts = map (n: { name = "host${toString n}"; weight = n; aliases = [ "h${toString n}" ]; }) (range 1 3);
    });
    users.shared.uid = 333;
  };
in
(evalModules { modules = [ base configuration ] ++ map service (range 1 40); }).config.system.build
