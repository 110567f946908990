# Options, and configurations that are merged from modules.
lib: with builtins; with lib;
rec {
  mkIf = condition: content: { _type = "if"; inherit condition content; };
  mkMerge = contents: { _type = "merge"; inherit contents; };
  mkOverride = priority: content: { _type = "override"; inherit priority content; };
  mkDefault = mkOverride 1000;
  mkForce = mkOverride 50;
  mkOption = { type ? types.unspecified, default ? null, description ? "", example ? null, apply ? id }@option:
    { _type = "option"; inherit type; } // option;
  isType = type: x: isAttrs x && x ? _type && x._type == type;

  types = rec {
    make = { name, check, merge ? mergeOne }: { _type = "option-type"; inherit name check merge; };
    unspecified = make { name = "unspecified"; check = x: true; };
    bool = make { name = "boolean"; check = isBool; };
    int = make { name = "integer"; check = isInt; };
    str = make { name = "string"; check = isString; };
    lines = make { name = "lines"; check = isString; merge = where: defs: concatStringsSep "\n" (map (d: d.value) defs); };
    package = make { name = "package"; check = isDerivation; };
    listOf = type: make {
      name = "list of ${type.name}s";
      check = x: isList x && all type.check x;
      merge = where: defs: concatLists (imap (n: def: imap (m: value:
        type.merge (where ++ [ "${toString n}-${toString m}" ]) [ { inherit (def) file; inherit value; } ]) def.value) defs);
    };
    attrsOf = type: make {
      name = "set of ${type.name}s";
      check = isAttrs;
      merge = where: defs: zipAttrsWith (name: found: type.merge (where ++ [ name ]) found)
        (map (def: mapAttrs (name: value: { inherit (def) file; inherit value; }) def.value) defs);
    };
    enum = values: make { name = "one of ${concatStringsSep ", " values}"; check = x: elem x values; };
    nullOr = type: make { name = "null or ${type.name}"; check = x: x == null || type.check x;
      merge = where: defs: if (head defs).value == null then null else type.merge where defs; };
    submodule = module: make {
      name = "submodule";
      check = x: isAttrs x || isFunction x;
      merge = where: defs: (evalModules {
        prefix = where;
        modules = [ module ] ++ map (def: { file = def.file; config = def.value; }) defs;
      }).config;
    };
  };

  mergeOne = where: defs:
    if length defs == 1 then (head defs).value
    else if all (d: d.value == (head defs).value) defs then (head defs).value
    else throw "The option `${showOption where}' is defined in ${concatMapStringsSep " and " (d: d.file) defs}.";
  showOption = concatStringsSep ".";

  normal = arguments: key: module:
    let m = if isFunction module then module (arguments // intersectAttrs (functionArgs module) arguments) else module; in
    if m ? config || m ? options
    then { file = m.file or key; imports = m.imports or [ ]; options = m.options or { }; config = m.config or { }; inherit key; }
    else { file = m.file or key; imports = m.imports or [ ]; options = { }; config = removeAttrs m [ "imports" "file" ]; inherit key; };

  # All modules, each once.
  closure = arguments: modules:
    map (x: x.module) (genericClosure {
      startSet = imap (n: m: let module = normal arguments "module-${toString n}" m; in { key = module.key; inherit module; }) modules;
      operator = { module, ... }: imap (n: path:
        let found = normal arguments "${module.key}:${toString n}" path; in { key = found.key; module = found; }) module.imports;
    });

  pushDown = config:
    if isType "merge" config then concatMap pushDown config.contents
    else if isType "if" config then map (mapAttrs (name: content: mkIf config.condition content)) (pushDown config.content)
    else if isType "override" config then map (mapAttrs (name: mkOverride config.priority)) (pushDown config.content)
    else [ config ];
  discharge = value:
    if isType "merge" value then concatMap discharge value.contents
    else if isType "if" value then (if value.condition then discharge value.content else [ ])
    else [ value ];
  strongest = defs:
    let
      priority = def: if isType "override" def.value then def.value.priority else 100;
      best = foldl' (least: def: if priority def < least then priority def else least) 9999 defs;
      strip = def: if isType "override" def.value then def // { value = def.value.content; } else def;
    in concatMap (def: if priority def == best then [ (strip def) ] else [ ]) defs;

  mergeModules = prefix: modules:
    mergeTree prefix (map (m: { inherit (m) file options; }) modules)
      (concatMap (m: map (config: { inherit (m) file; inherit config; }) (pushDown m.config)) modules);
  mergeTree = prefix: options: configs:
    let
      names = zipAttrsWith (name: values: values) (map (o: mapAttrs (n: option: { inherit (o) file; inherit option; }) o.options) options);
      defined = zipAttrsWith (name: values: values) (map (c: mapAttrs (n: value: { inherit (c) file; config = value; }) c.config) configs);
    in mapAttrs (name: declarations:
      let
        where = prefix ++ [ name ];
        defs = defined.${name} or [ ];
        found = filter (d: isType "option" d.option) declarations;
      in
      if length found == length declarations
      then evalOption where (head found).option (map (d: { inherit (d) file; value = d.config; }) defs)
      else mergeTree where (map (d: { inherit (d) file; options = d.option; }) declarations)
        (concatMap (d: map (config: { inherit (d) file; inherit config; }) (pushDown d.config)) defs)) names;
  evalOption = where: option: defs:
    let
      values = concatMap (def: map (value: { inherit (def) file; inherit value; }) (discharge def.value)) defs;
      default = optional (option ? default) { file = "default"; value = mkOverride 1500 option.default; };
      chosen = strongest (values ++ default);
      merged =
        if chosen == [ ] then throw "The option `${showOption where}' is used but not defined."
        else foldl' (result: def: if option.type.check def.value then result
          else throw "The option value `${showOption where}' in `${def.file}' is not a ${option.type.name}.")
          (option.type.merge where chosen) chosen;
    in option // { value = (option.apply or id) merged; isDefined = values != [ ]; files = map (d: d.file) values; loc = where; };

  valuesOf = options: mapAttrs (name: option: if isType "option" option then option.value else valuesOf option) options;
  evalModules = { modules, prefix ? [ ], args ? { } }:
    let
      arguments = args // { inherit config options lib; };
      options = mergeModules prefix (closure arguments modules);
      config = valuesOf options;
    in { inherit options config; };
}
