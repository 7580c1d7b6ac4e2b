package config

import (
	"unicode/utf8"

	"github.com/goccy/go-yaml/token"
)

// joinScalars joins scalars that the lexer splits. In a mapping in braces it treats every colon as
// the end of a key: in {urls: [http://127.0.0.1:9200]} it finds the key http://127.0.0.1. But a
// colon between two characters of a plain scalar is part of it (YAML 1.2.2 §7.3.3).
func joinScalars(tokens token.Tokens) token.Tokens {
	var joined token.Tokens
	depth := 0 // of brackets and braces
	for i := 0; i < len(tokens); i++ {
		t := tokens[i]
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			depth++
		case token.MappingEndType, token.SequenceEndType:
			depth--
		case token.MappingValueType:
			if depth == 0 || len(joined) == 0 || i+1 == len(tokens) {
				break
			}
			before, after := joined[len(joined)-1], tokens[i+1]
			if isPlain(before) && isPlain(after) && adjacent(before, t) && adjacent(t, after) {
				whole := token.New(before.Value+":"+after.Value, before.Origin+t.Origin+after.Origin, before.Position)
				joined = joined[:len(joined)-1]
				joined.Add(whole)
				i++
				continue
			}
		}
		joined.Add(t)
	}
	return joined
}

func isPlain(t *token.Token) bool {
	switch t.Type {
	case token.StringType, token.IntegerType, token.BinaryIntegerType, token.OctetIntegerType, token.HexIntegerType,
		token.FloatType, token.BoolType, token.NullType, token.InfinityType, token.NanType:
		return true
	}
	return false
}

// adjacent reports whether nothing is between two tokens of one line.
func adjacent(a, b *token.Token) bool {
	return a.Position.Line == b.Position.Line && a.Position.Column+utf8.RuneCountInString(a.Value) == b.Position.Column
}
