# Unpacks the archive of a channel, made by the builder itself.
{ name, channelName, src }:
derivation {
  inherit name channelName src;
  builder = "builtin:unpack-channel";
  system = "builtin";
  preferLocalBuild = true;
}
