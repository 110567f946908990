# A fixed-output derivation that the builder itself carries out: no shell, no curl. Its attributes decide its store
# path, so they are those of Nix.
{ url
, name ? baseNameOf (toString url)
, hash ? "" # with its algorithm: "sha256-..."
, sha512 ? ""
, sha1 ? ""
, md5 ? ""
, sha256 ? ""
, outputHash ?
    if hash != "" then hash
    else if sha512 != "" then sha512
    else if sha1 != "" then sha1
    else if md5 != "" then md5
    else sha256
, outputHashAlgo ?
    if hash != "" then ""
    else if sha512 != "" then "sha512"
    else if sha1 != "" then "sha1"
    else if md5 != "" then "md5"
    else "sha256"
, executable ? false
, unpack ? false # an archive: the result is the tree in it
, system ? "" # has no meaning any more
}:
derivation {
  inherit name url outputHash outputHashAlgo executable unpack;
  outputHashMode = if executable || unpack then "recursive" else "flat";

  builder = "builtin:fetchurl";
  system = "builtin";
  urls = [ url ]; # nix-prefetch-url reads this one

  # A fixed output may depend on how the network is reached.
  impureEnvVars = [ "http_proxy" "https_proxy" "ftp_proxy" "all_proxy" "no_proxy" ];
  preferLocalBuild = true;
}
