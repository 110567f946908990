"""The compiled heart of the evaluator: lexer, parser, nodes, values and the hot builtins."""
