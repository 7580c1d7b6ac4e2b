package syslog

import (
	"unicode/utf8"

	"github.com/ttydrain/ttydrain/schema"
)

// quoting is the place of a text, which decides what is escaped.
type quoting uint8

const (
	inMessage quoting = iota
	inParam           // a value of structured data: `"`, `\` and `]` are escaped (RFC 5424 §6.3.3)
)

// appendSafe appends text so that nothing in it ends the message or the parameter, or controls a
// terminal; see the package's documentation for each character. altered reports that a character
// was replaced; escapes of structured data do not count, since reading undoes them.
func appendSafe[T []byte | string](dst []byte, text T, in quoting) (_ []byte, altered bool) {
	start := 0 // of the part that is not copied yet
	for i := 0; i < len(text); {
		c := text[i]
		if ' ' <= c && c <= '~' {
			if in == inParam && (c == '"' || c == '\\' || c == ']') {
				dst = append(dst, text[start:i]...)
				dst = append(dst, '\\')
				start = i
			}
			i++
			continue
		}
		// At most four bytes: the compiler makes this string on the stack.
		r, size := utf8.DecodeRuneInString(string(text[i:min(i+utf8.UTFMax, len(text))]))
		if r == utf8.RuneError && size == 1 || forbidden(r, in) {
			altered = true
			dst = append(dst, text[start:i]...)
			dst = utf8.AppendRune(dst, schema.SyslogRune(r, in == inParam))
			start = i + size
		}
		i += size
	}
	return append(dst, text[start:]...), altered
}

// fit returns the number of bytes of text for which appendSafe appends at most room bytes. It cuts
// between characters only. written is the number of bytes that appendSafe appends, and read the
// same without the escapes of structured data.
func fit(text []byte, in quoting, room int) (n, written, read int) {
	for n < len(text) {
		r, size := utf8.DecodeRune(text[n:])
		length := size
		if r == utf8.RuneError && size == 1 || forbidden(r, in) {
			length = utf8.RuneLen(schema.SyslogRune(r, in == inParam))
		}
		escape := 0
		if in == inParam && (r == '"' || r == '\\' || r == ']') {
			escape = 1
		}
		if written+length+escape > room {
			break
		}
		n, written, read = n+size, written+length+escape, read+length
	}
	return n, written, read
}

// forbidden reports whether a character is not allowed in a place.
func forbidden(r rune, in quoting) bool { return schema.SyslogRune(r, in == inParam) != r }

// Lengths of header fields in characters (RFC 5424 §6).
const (
	maxHostname = 255
	maxAppName  = 48
	maxProcID   = 128
	maxMsgID    = 32
)

// appendHeader appends a space and a header field: PRINTUSASCII, not empty and not too long.
func appendHeader(dst []byte, field string, limit int) []byte {
	dst = append(dst, ' ')
	return appendWord(dst, field, limit)
}

// appendWord appends one word of printable ASCII.
func appendWord(dst []byte, word string, limit int) []byte {
	if word == "" {
		return append(dst, '-') // NILVALUE
	}
	n := 0
	for _, r := range word {
		if n++; n > limit {
			break
		}
		if r <= ' ' || r > '~' {
			r = '_'
		}
		dst = append(dst, byte(r))
	}
	return dst
}
