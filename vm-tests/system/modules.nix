# A small module system: options are declared, definitions from many modules are merged, and all of it is lazy.
# The vocabulary (mkOption, mkIf, mkDefault, mkForce, types, imports) is that of NixOS, the implementation is not.
let
  inherit (builtins)
    all any attrNames concatLists concatStringsSep elemAt filter foldl' functionArgs hasAttr head isAttrs isBool
    isFunction isInt isList isPath isString length listToAttrs map mapAttrs sort tail typeOf;

  isOption = x: isAttrs x && x._type or "" == "option";
  tagged = tag: x: isAttrs x && x._type or "" == tag;
  showPath = concatStringsSep ".";
  unique = foldl' (seen: x: if builtins.elem x seen then seen else seen ++ [ x ]) [ ];
  genAttrs = names: f: listToAttrs (map (name: { inherit name; value = f name; }) names);

  mkOption = option: option // { _type = "option"; };
  mkIf = condition: content: { _type = "if"; inherit condition content; };
  mkOverride = priority: content: { _type = "override"; inherit priority content; };
  mkDefault = mkOverride 1000;
  mkForce = mkOverride 50;

  # A definition that holds for a whole set of options holds for each of them.
  pushDown = definition:
    if tagged "if" definition then
      mapAttrs (_: mkIf definition.condition) (pushDown definition.content)
    else if tagged "override" definition then
      mapAttrs (_: mkOverride definition.priority) (pushDown definition.content)
    else definition;

  # From a definition to the values that count, each with its priority (lower wins).
  discharge = priority: definition:
    if tagged "if" definition then
      if definition.condition then discharge priority definition.content else [ ]
    else if tagged "override" definition then discharge definition.priority definition.content
    else [ { inherit priority; value = definition; } ];

  winners = definitions:
    let
      found = concatLists (map (discharge 100) definitions);
      best = foldl' (low: each: if each.priority < low then each.priority else low) 2000 found;
    in map (each: each.value) (filter (each: each.priority == best) found);

  one = what: path: values:
    if length values == 1 || all (value: value == head values) values then head values
    else throw "the option '${showPath path}' (${what}) has ${toString (length values)} different definitions";
  checked = what: check: path: value:
    if check value then value
    else throw "the option '${showPath path}' is not ${what} but a ${typeOf value}";
  simple = what: check: {
    inherit what;
    merge = path: values: one what path (map (checked what check path) values);
  };

  types = rec {
    bool = simple "a Boolean" isBool;
    int = simple "an integer" isInt;
    str = simple "a string" isString;
    path = simple "a path" (x: isPath x || isString x || isAttrs x && x ? outPath);
    package = simple "a package" (x: isAttrs x && x ? outPath || isPath x || isString x);
    anything = simple "a value" (x: true);
    lines = {
      what = "lines of text";
      merge = path: values: concatStringsSep "\n" (map (checked "lines of text" isString path) values);
    };
    listOf = element: {
      what = "a list";
      merge = path: values: map (value: element.merge path [ value ])
        (concatLists (map (checked "a list" isList path) values));
    };
    attrsOf = element: {
      what = "a set";
      merge = path: values:
        let
          sets = map (checked "a set" isAttrs path) values;
          names = unique (concatLists (map attrNames sets));
        in genAttrs names (name:
          element.merge (path ++ [ name ]) (winners (map (set: set.${name}) (filter (hasAttr name) sets))));
    };
    submodule = module: {
      what = "a set of options";
      merge = path: values: (evalModules {
        modules = [ module ] ++ values;
        specialArgs.name = elemAt path (length path - 1);
        prefix = path;
      }).config;
    };
    nullOr = element: {
      what = "null or ${element.what}";
      merge = path: values: if all (value: value == null) values then null else element.merge path values;
    };
  };

  mergeOption = path: option: definitions:
    let values = winners definitions;
    in if values != [ ] then (option.type or types.anything).merge path values
    else option.default or (throw "the option '${showPath path}' is used but not defined");

  # Options and definitions run through the same names; what is defined and was never declared is an error.
  evalTree = path: declarations: definitions:
    let
      declared = unique (concatLists (map attrNames declarations));
      pushed = map pushDown definitions;
      stray = filter (name: !builtins.elem name declared) (concatLists (map attrNames pushed));
      evalName = name:
        let
          here = map (set: set.${name}) (filter (hasAttr name) declarations);
          below = map (set: set.${name}) (filter (hasAttr name) pushed);
        in if isOption (head here) then mergeOption (path ++ [ name ]) (head here) below
        else evalTree (path ++ [ name ]) here below;
    in if stray != [ ] then throw "the option '${showPath (path ++ [ (head stray) ])}' does not exist"
    else genAttrs declared evalName;

  evalModules = { modules, specialArgs ? { }, prefix ? [ ] }:
    let
      arguments = { inherit config lib; } // specialArgs;
      load = module: normalise (if isFunction module then module arguments
        else if isPath module || isString module then
          let loaded = import module; in if isFunction loaded then loaded arguments else loaded
        else module);
      normalise = module:
        if module ? config || module ? options || module ? imports then
          { imports = module.imports or [ ]; options = module.options or { }; config = module.config or { }; }
        else { imports = [ ]; options = { }; config = module; };
      collect = module: let loaded = load module; in concatLists (map collect loaded.imports) ++ [ loaded ];
      loaded = concatLists (map collect modules);
      config = evalTree prefix (map (each: each.options) loaded) (map (each: each.config) loaded);
    in { inherit config; };

  lib = { inherit mkOption mkIf mkOverride mkDefault mkForce types evalModules unique genAttrs; };
in lib
