# What nix-channel builds for each channel: a directory with the channel's expressions in it, under the channel's name.
# The attributes are those of Nix, so that equal archives give equal store paths.
{ name, channelName, src }:

derivation {
  builder = "builtin:unpack-channel";
  system = "builtin";
  inherit name channelName src;
  preferLocalBuild = true;
}
