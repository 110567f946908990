# C-level shape: only what is imported from other compiled modules.
from evaluator.core.calls cimport (
    call, call1, call2, coerce, equal, force_attrs, force_bool_c, force_float, force_function, force_int, force_list,
    force_string, force_string_context, force_string_no_context, less, same, text_less, type_error,
)
from evaluator.core.nodes cimport (
    Mapping, add, delay_call, delay_call2, delayed, delayed2, divide, mapped, mapping_is_wanted, mapping_of, multiply,
    new_mapping, subtract,
)
from evaluator.core.values cimport (
    Attrs, ContextString, Counters, Func, Lambda, MergedByNames, Node, NULL, Path, PrimOp, Thunk,
    check_stack, copy_set, counters, force_thunk, is_merged, make_path, make_string, new_merged, position_of, settled,
    show_type,
)
