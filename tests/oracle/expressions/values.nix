# Builtins whose results are defined by what real Nix answers.
let
  d = derivation { name = "n"; system = "s"; builder = "b"; outputs = [ "out" "dev" ]; };
  regex = p: s: [ (builtins.match p s) (builtins.split p s) ];
in {
  contexts = builtins.getContext "${d} ${d.dev} ${d.drvPath} ${./tree/file}";
  xml = builtins.toXML { a = [ 1 1.5 "<&>\"\n" null true ./. ]; f = { x, y ? 1, ... }@z: x; g = x: x; inherit d; };
  json = builtins.toJSON { a = [ 1 1.5 1000000.0 0.1 "\"\\\n\t\r" null true ]; inherit d; e = { }; };
  versions = map (v: [ (builtins.parseDrvName v) (builtins.splitVersion v) ])
    [ "a-1.0" "b" "c-d-2pre" "" "x--1" "1.2.3-rc4" "name-_1" ];
  compared = builtins.concatMap (a: map (b: builtins.compareVersions a b) [ "1.0" "1" "1.0pre" "2.3a" "2.3.1" "" ])
    [ "1.0" "1" "1.0pre" "2.3a" "2.3.1" "" ];
  hashes = map (t: builtins.hashString t "abc") [ "md5" "sha1" "sha256" "sha512" ];
  fileHashes = map (t: builtins.hashFile t ./tree/file) [ "md5" "sha256" ];
  dir = builtins.readDir ./tree;
  read = builtins.readFile ./tree/file;
  exists = map builtins.pathExists [ ./tree ./tree/file ./tree/none ./tree/link /none/at/all ];
  regexes = [
    (regex "a(b*)c" "abbc") (regex "(a|ab)(c|bcd)(d*)" "abcd") (regex "[[:space:]]+" "a  b c")
    (regex "" "ab") (regex "(é)|(.)" "aé") (regex "^a|b$" "aab")
  ];
  fromJSON = builtins.fromJSON ''{ "a": [1, -2.5e3, "x\u00e9\n", null, true, {}], "a": 1 }'';
  fromTOML = builtins.fromTOML "a = 1\nb = [1.5, 2]\n[t.'u v']\ns = \"x\\n\"";
  found = builtins.findFile [ { prefix = "p"; path = ./tree; } { path = ./.; } ] "p/file";
  placeholders = map builtins.placeholder [ "out" "dev" ];
  names = [ (baseNameOf ./tree) (dirOf ./tree) (builtins.toPath "/a/../b//c/") ];
  floats = [ 1.0 0.1 1.0e10 1.0e-5 123456789.0 (1.0 / 3) ];
  reserved = { "a b" = 1; c = 2; "1" = 3; };
}
