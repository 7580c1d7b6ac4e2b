// Package enrich turns what a terminal showed into records that say who saw it.
//
// A [Transcript] takes one operation's chunks and gives its segments: it assembles lines, renders
// their text, keeps the running digests, and attaches the operation with its user document. It is
// pure: it knows no stream, no clock but the times that it is given, and the same chunks always give
// the same bytes, digests and offsets, wherever the chunks were cut.
//
// # Lines
//
// A record ends at a newline, at [MaxLine] bytes, at [MaxAge] after its first byte, at a change of the
// terminal's size, or at the end of the session. Only a newline and the end of the session may cut an
// escape sequence or a UTF-8 rune; the other cuts are made before an unfinished one. Two things bound
// that rule, since a session may print anything: a sequence that alone is longer than MaxLine is cut
// at MaxLine, and a newline ends every sequence. A terminal would go on swallowing text after an
// unfinished "operating system command"; the record shows it instead, so that nobody can hide what
// follows from the text by starting a sequence and not ending it.
//
// # User documents
//
// The user document is a JWT (RFC 7519) that is expired when it is minted: it says who, it opens
// nothing. [CheckDocument] refuses one that is not expired, whatever made it, and a Transcript
// cannot be made without that check.
package enrich
