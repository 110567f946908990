# What package sets and configurations are made with, written for training: see training.py.
with builtins;
rec {
  inherit (builtins) concatStringsSep isAttrs attrNames;
  id = x: x;
  const = x: y: x;
  flip = f: a: b: f b a;
  pipe = foldl' (x: f: f x);
  fix = f: let x = f x; in x;
  extends = overlay: f: self: let super = f self; in super // overlay self super;
  composeExtensions = f: g: self: super: let a = f self super; b = g self (super // a); in a // b;

  # lists
  foldr = op: nul: list:
    let
      len = length list;
      go = n: if n == len then nul else op (elemAt list n) (go (n + 1));
    in go 0;
  fold = foldr;
  optional = condition: x: if condition then [ x ] else [ ];
  optionals = condition: xs: if condition then xs else [ ];
  range = first: last: if first > last then [ ] else genList (n: first + n) (last - first + 1);
  imap = f: list: genList (n: f (n + 1) (elemAt list n)) (length list);
  flatten = x: if isList x then concatLists (map flatten x) else [ x ];
  unique = foldl' (seen: x: if elem x seen then seen else seen ++ [ x ]) [ ];
  findFirst = predicate: default: list:
    let found = filter predicate list; in if found == [ ] then default else head found;
  zipLists = a: b:
    genList (n: { fst = elemAt a n; snd = elemAt b n; }) (if length a < length b then length a else length b);
  take = count: list: genList (elemAt list) (if count < length list then count else length list);
  last = list: assert list != [ ]; elemAt list (length list - 1);
  subtractLists = e: filter (x: !(elem x e));

  # strings
  concatMapStrings = f: list: concatStringsSep "" (map f list);
  concatMapStringsSep = sep: f: list: concatStringsSep sep (map f list);
  optionalString = condition: text: if condition then text else "";
  hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
  hasSuffix = suffix: text:
    let n = stringLength text; m = stringLength suffix; in n >= m && substring (n - m) n text == suffix;
  removeSuffix = suffix: text:
    if hasSuffix suffix text then substring 0 (stringLength text - stringLength suffix) text else text;
  splitString = sep: text: filter isString (split (escape sep) text);
  escape = replaceStrings [ "." "+" "*" ] [ "[.]" "[+]" "[*]" ];
  escapeShellArg = arg: "'${replaceStrings [ "'" ] [ "'\\''" ] (toString arg)}'";
  stringToCharacters = text: map (n: substring n 1 text) (range 0 (stringLength text - 1));
  toUpper = replaceStrings (stringToCharacters "abcdefghij") (stringToCharacters "ABCDEFGHIJ");
  makeSearchPath = folder: paths: concatStringsSep ":" (map (path: path + "/" + folder) (filter (x: x != null) paths));
  versionAtLeast = a: b: compareVersions a b >= 0;
  getName = x: (parseDrvName (if isString x then x else x.name)).name;

  # sets
  attrByPath = path: default: set:
    let first = head path; in
    if path == [ ] then set
    else if set ? ${first} then attrByPath (tail path) default set.${first}
    else default;
  setAttrByPath = path: value: if path == [ ] then value else { ${head path} = setAttrByPath (tail path) value; };
  nameValuePair = name: value: { inherit name value; };
  mapAttrs' = f: set: listToAttrs (map (name: f name set.${name}) (attrNames set));
  mapAttrsToList = f: set: map (name: f name set.${name}) (attrNames set);
  filterAttrs = predicate: set:
    listToAttrs (concatMap (name: let value = set.${name}; in
      if predicate name value then [ (nameValuePair name value) ] else [ ]) (attrNames set));
  genAttrs = names: f: listToAttrs (map (name: nameValuePair name (f name)) names);
  optionalAttrs = condition: set: if condition then set else { };
  recursiveUpdate = left: right: left // mapAttrs (name: value:
    if left ? ${name} && isAttrs left.${name} && isAttrs value && !(isDerivation value)
    then recursiveUpdate left.${name} value else value) right;
  catAttrs = name: sets: concatLists (map (set: if set ? ${name} then [ set.${name} ] else [ ]) sets);
  zipAttrsWith = f: sets:
    genAttrs (unique (concatMap attrNames sets)) (name: f name (catAttrs name sets));
  isDerivation = x: isAttrs x && x ? type && x.type == "derivation";
  collect = predicate: set:
    if predicate set then [ set ]
    else if isAttrs set then concatMap (collect predicate) (attrValues set) else [ ];

  # packages
  makeOverridable = f: arguments:
    let result = f arguments; in
    if isAttrs result then result // {
      override = new: makeOverridable f (arguments // (if isFunction new then new arguments else new));
      overrideDerivation = g: makeOverridable (a: (f a) // g (f a)) arguments;
    } else result;
  callPackageWith = scope: file: arguments:
    let
      f = if isFunction file then file else import file;
      found = intersectAttrs (functionArgs f) scope;
    in makeOverridable f (found // arguments);
  addPassthru = drv: passthru:
    let
      outputs = drv.outputs or [ "out" ];
      shared = drv // listToAttrs all // passthru // { inherit all; };
      one = name: nameValuePair name (shared // {
        inherit (drv.${name}) outPath drvPath type;
        outputName = name;
      });
      all = map one outputs;
    in (head all).value;

  platforms = rec {
    linux = [ "i686-linux" "x86_64-linux" "armv7l-linux" "aarch64-linux" ];
    darwin = [ "x86_64-darwin" ];
    all = linux ++ darwin;
  };
  maintainers = genAttrs (map (n: "person${toString n}") (range 1 60)) (name: "${name} <${name}@example.org>");
}
