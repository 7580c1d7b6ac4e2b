package schema

import (
	"io"
	"unicode"
	"unicode/utf8"
)

// IsHidden reports whether a character is invisible in a displayed text or changes how other
// characters appear: controls, line and paragraph separators, bidirectional controls, zero-width
// characters, and others that Unicode marks as Default_Ignorable_Code_Point. A name that contains
// one can look like another name.
func IsHidden(r rune) bool {
	if r >= ' ' && r < 0x7f {
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// IsJoiner reports whether a hidden character is one that emoji and some scripts need: a zero-width
// joiner or non-joiner, or a variation selector.
func IsJoiner(r rune) bool {
	return r == '\u200c' || r == '\u200d' || unicode.Is(unicode.Variation_Selector, r)
}

// escapedInJSON reports whether a character is escaped in JSON although it need not be (RFC 8259
// §7): DEL and C1 controls, on which a terminal may act; line and paragraph separators, at which
// receivers may split; and bidirectional controls.
func escapedInJSON(r rune) bool {
	switch {
	case r < 0x7f:
		return false
	case r < 0xa0:
		return true
	case r < 0x2000:
		return r == '\u061c'
	}
	return r == '\u200e' || r == '\u200f' || r >= '\u2028' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069'
}

// AppendEscaped appends JSON with escapes for the characters in its strings that a terminal or a
// receiver may act on: C1 controls and DEL, line and paragraph separators, and bidirectional
// controls. The values stay the same.
func AppendEscaped(dst, json []byte) []byte {
	start := 0
	for i := 0; i < len(json); {
		c := json[i]
		if c < 0x7f {
			i++
			continue
		}
		r, size := utf8.DecodeRune(json[i:])
		if escapedInJSON(r) {
			dst = appendUnicode(append(dst, json[start:i]...), r)
			start = i + size
		}
		i += size
	}
	return append(dst, json[start:]...)
}

// appendUnicode appends \uXXXX for a character of the Basic Multilingual Plane.
func appendUnicode(dst []byte, r rune) []byte {
	const digits = "0123456789abcdef"
	return append(dst, '\\', 'u', digits[r>>12], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}

// JSONWriter forwards JSON to another writer and escapes characters as [AppendEscaped] does. Each
// Write must hold whole characters, as encoding/json and log/slog write them. It must not be used
// concurrently.
type JSONWriter struct {
	To  io.Writer
	buf []byte
}

// Write implements [io.Writer].
func (w *JSONWriter) Write(json []byte) (int, error) {
	w.buf = AppendEscaped(w.buf[:0], json)
	if _, err := w.To.Write(w.buf); err != nil {
		return 0, err
	}
	return len(json), nil
}
