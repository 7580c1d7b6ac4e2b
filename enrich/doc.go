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
// # Text
//
// The text of a record is what a person reads of it. Without a terminal, that is the line without escape sequences and control
// characters. A session with one has its output shown on a terminal of the session's size, as far as its text goes: line
// editing, redrawing and full-screen programs are resolved. A record tells the lines that it wrote to, as they stand at its end, from top
// to bottom, without spaces around them and with " ⏎ " between them; the rows of a line that is wrapped are one line. It tells
// what is written to before the whole screen is erased, before the alternate screen is shown or left, and when it scrolls away. Lines
// that are the same after one another are told once.
//
// So a command that was typed slowly, and is in several records because of that, is in each of them as far as it has come, and whole in the
// one that its newline ends. Two things bound that: after MaxLine bytes the next record begins anew, and so does one
// that would repeat more than 1,024 cells of a line that has no end. A text that comes from the terminal has MaxLine bytes at most.
//
// Most lines only add to the screen, at its bottom: the terminal is not in use for them. It is one of our own, and not of a library, since it
// has to be cheap where somebody attacks it, to go on after a restart exactly where it was, whatever was shown, and never
// to wait for anything. What a terminal shows, as far as later texts need it, is in the segments; a text is the same wherever the
// chunks and segments were cut, and over restarts.
//
// Not guaranteed: that the person's own terminal showed the same. It is taken to be like xterm, with the widths of Unicode, tab stops at every eighth
// column, and, at the start of the session and after a gap, the cursor at the left of its last row. Its size is bounded to
// 1,000 by 250. What is above a line that a newline scrolls up is forgotten, and so is a screen of more than 32,768 cells with
// something in them. Colours, and that something is invisible, are not looked at. The exact bytes are in the record beside the text.
//
// # User documents
//
// The user document is a JWT (RFC 7519) that is expired when it is minted: it says who, it opens
// nothing. [CheckDocument] refuses one that is not expired, whatever made it, and a Transcript
// cannot be made without that check.
package enrich
