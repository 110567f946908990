# What expressions for old releases of Nix ask for: programs that corepkgs used to run, and directories. The programs
# are those of the builder's own search path; nothing here needs them any more.
let
  fromEnvironment = name: default:
    let value = builtins.getEnv name;
    in if value != "" then value else default;
in
rec {
  shell = "/bin/sh";
  coreutils = "/bin";
  bzip2 = "/bin/bzip2";
  gzip = "/bin/gzip";
  xz = "/usr/bin/xz";
  tar = "/bin/tar";
  tarFlags = "--warning=no-timestamp";
  tr = "/usr/bin/tr";
  nixPrefix = "/usr";
  nixBinDir = fromEnvironment "NIX_BIN_DIR" "/usr/bin";
  nixLibexecDir = fromEnvironment "NIX_LIBEXEC_DIR" "/usr/libexec";
  nixLocalstateDir = "/nix/var";
  nixSysconfDir = "/etc";
  nixStoreDir = fromEnvironment "NIX_STORE_DIR" builtins.storeDir;
  chrootDeps = [ ];
}
