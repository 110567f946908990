# The system itself: one directory with everything that a generation is, the script that makes it the running one, and
# the script that the initial RAM disk hands over to.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  etc = pkgs.linkFarm "etc" config.environment.etc;
  software = pkgs.environment "system-path" config.environment.packages;
  activate = pkgs.writeScript "activate" ''
    # Makes this system the running one. May be run at boot and at any time after.
    export PATH=${pkgs.tools}/bin
    system=$(readlink -f "$(dirname "$0")")
    mkdir -p /run /etc /root /home /var/log /tmp
    ln -sfn "$system" /run/current-system.new && mv -T /run/current-system.new /run/current-system
    # what an earlier generation put into /etc and this one does not have goes
    for link in $(find /etc -type l); do
      case $(readlink "$link") in
        /run/current-system/etc/*) [ -e "$link" ] || rm "$link" ;;
      esac
    done
    (cd ${etc} && find . ! -type d) | while read -r file; do
      mkdir -p "/etc/$(dirname "$file")"
      ln -sfn "/run/current-system/etc/''${file#./}" "/etc/$file"
    done
    hostname ${config.networking.hostName}
    ${config.system.activationScript}
  '';
  init = pkgs.writeScript "stage-2-init" ''
    export PATH=${pkgs.tools}/bin
    echo "starting system ${config.system.name}"
    "$1/activate"
    export PATH=/run/current-system/sw/bin:/usr/bin:/usr/sbin
    export HOME=/root TERM=linux
    systemctl start-all
    ${config.boot.postBoot}
    exec ${pkgs.tools}/bin/init
  '';
  switch = pkgs.writeScript "switch-to-configuration" ''
    # switch, boot, test, dry-activate: as in NixOS. "boot" only records; the profile's link is what boots.
    export PATH=${pkgs.tools}/bin
    system=$(readlink -f "$(dirname "$0")/..")
    old=$(readlink -f /run/current-system)
    changed() { [ "$(readlink -f "$old/services/$1")" != "$(readlink -f "$system/services/$1")" ]; }
    case $1 in
      boot) exit 0 ;;
      dry-activate)
        for folder in "$system"/services/*; do changed "''${folder##*/}" && echo "would restart ''${folder##*/}"; done
        exit 0 ;;
      switch | test) ;;
      *) echo "usage: switch-to-configuration switch|boot|test|dry-activate" >&2; exit 1 ;;
    esac
    stop= start=
    for folder in "$old"/services/*; do
      name=''${folder##*/}
      [ -e "$folder/run" ] && changed "$name" && stop="$stop $name"
    done
    for folder in "$system"/services/*; do
      name=''${folder##*/}
      [ -e "$folder/run" ] && changed "$name" && start="$start $name"
    done
    ctl=/run/current-system/sw/bin/systemctl
    [ "$stop" ] && echo "stopping:$stop" && $ctl stop $stop
    "$system/activate"
    [ "$start" ] && echo "starting:$start" && $ctl start $start
    exit 0
  '';
in {
  options = {
    system.name = mkOption { type = types.str; default = "machine"; };
    system.content = mkOption { type = types.attrsOf types.package; default = { }; };
    system.activationScript = mkOption { type = types.lines; default = ""; };
    system.build = mkOption { type = types.package; };
    boot.postBoot = mkOption { type = types.lines; default = ""; };
    environment.etc = mkOption { type = types.attrsOf types.path; default = { }; };
    environment.packages = mkOption { type = types.listOf types.package; default = [ ]; };
    networking.hostName = mkOption { type = types.str; default = "machine"; };
    networking.address = mkOption { type = types.nullOr types.str; default = null; };
    users = mkOption {
      type = types.attrsOf (types.submodule ({ name, ... }: {
        options.uid = mkOption { type = types.int; };
        options.home = mkOption { type = types.str; default = "/home/${name}"; };
      }));
      default = { };
    };
  };
  config = {
    users.root = { uid = 0; home = "/root"; };
    environment.packages = [ pkgs.tools ];
    environment.etc =
      let
        lines = f: builtins.concatStringsSep "" (builtins.attrValues (builtins.mapAttrs f config.users));
      in {
        passwd = pkgs.writeText "passwd" (lines (name: user:
          "${name}:x:${toString user.uid}:${toString user.uid}::${user.home}:/run/current-system/sw/bin/sh\n"));
        group = pkgs.writeText "group" (lines (name: user: "${name}:x:${toString user.uid}:\n"));
        hosts = pkgs.writeText "hosts" "127.0.0.1 localhost\n";
        profile = pkgs.writeText "profile" "export PATH=/run/current-system/sw/bin:/usr/bin:/usr/sbin\n";
        inittab = pkgs.writeText "inittab" ''
          ::ctrlaltdel:/run/current-system/sw/bin/reboot
          ::shutdown:/run/current-system/sw/bin/sync
        '';
      };
    system.activationScript = lib.mkIf (config.networking.address != null) ''
      ip link set lo up
      [ -e /sys/class/net/eth0 ] && ip link set eth0 up && ip addr flush dev eth0 && ip addr add ${config.networking.address} dev eth0
      true
    '' ;
    system.content = { inherit activate etc init; sw = software; "bin/switch-to-configuration" = switch; };
    system.build = pkgs.linkFarm "system-${config.system.name}" config.system.content;
  };
}
