// Package enrich turns what a terminal showed into records that say who saw it.
//
// A [Transcript] takes one operation's chunks and gives its segments: it assembles lines, renders
// their text, keeps the running digests, and attaches the operation with its user document. It is
// pure: it knows no stream, no clock but the times that it is given, and the same chunks always
// give the same bytes, digests and offsets, wherever the chunks were cut.
//
// # Lines
//
// A record ends at a newline, at [MaxLine] bytes, at [MaxAge] after its first byte, at a change of
// the terminal's size, or at the end of the session. Only a newline and the end of the session may
// cut an escape sequence or a UTF-8 rune; the other cuts are made before an unfinished one. Two
// things bound that rule, since a session may print anything: a sequence that alone is longer than
// MaxLine is cut at MaxLine, and a newline ends every record. A line whose newline is in a control
// string is recorded when it is known whether the string ends.
//
// # Text
//
// The text of a record is what a person reads of it. Without a terminal, that is the line without
// escape sequences and control characters. A session with one has its output shown on a terminal of
// the session's size: line editing, redrawing and full-screen programs are resolved. A text has the
// lines that its record wrote to, as they stand at the record's end, from top to bottom, without
// spaces around them and with " ⏎ " between them; the rows of a line that is wrapped are one line.
// It also has the lines that were written to and then scrolled away, or were erased with the whole
// screen, and those on a screen that is left for the alternate one or for the main one. Lines that
// are the same after one another are there once.
//
// A command that was typed slowly is in several records. Each has it as far as it was typed, and
// the one that its newline ends has it as a whole. Two things bound that: after MaxLine bytes the
// next record begins anew, and so does one that would repeat more than 1,024 cells of a line that
// has no end. A command of several lines that is edited is in the record of its Enter from the
// first line that was changed on. A text that comes from the terminal has MaxLine bytes at most.
//
// What is gone at the record's end is marked, ⌫⟦…⟧, and stands before the lines that were written
// after it. It is a line (of panes side by side, the part in the pane) that was erased or
// overwritten after it had stood for 300 ms, or after it was typed, which is that its runes came
// one after another, or, in a full-screen program, after a carriage return that no line feed
// follows, as behind vim's ":" line. What is part of another line of the text, or was in the text
// of a record before, is not repeated. Of each record there are at most 64 of them and 4 KiB; ⌫⟦…⟧
// with an ellipsis alone says that there were more. So a progress bar adds a line for each state
// that stood for 300 ms, and none for the others.
//
// What was written as invisible (SGR 8) is marked, ◌⟦…⟧. The brackets ⟦ and ⟧ are the marks' alone:
// those that a session shows are [ and ] in the texts of output.
//
// How long something stood is computed from the times in the records alone, to the microsecond, so
// that the same records always give the same texts. What the terminal shows, as far as later texts
// need it, is in the segments: a text is the same wherever the chunks and segments were cut, and
// after a restart.
//
// Most lines only add to the screen, at its bottom. They are kept, and shown when something may
// move the cursor up to them. The terminal is one of our own, and not of a library, since it has to
// be cheap where somebody attacks it, to go on after a restart exactly where it was, and never to
// wait for anything.
//
// Control strings (OSC, DCS, APC, PM, SOS, and ESC k, the title of screen and tmux) are not text,
// with the line ends in them. One that does not end within MaxLine bytes or MaxAge ends with its
// line, so that it hides nothing; only lines that look like an image's data, without spaces, are
// taken for part of it.
//
// Not guaranteed: that the person's own terminal showed the same. It is taken to be like xterm,
// with the widths of Unicode, tab stops at every eighth column, and, at the start of the session
// and after a gap, the cursor at the left of its last row. Its size is bounded to 1,000 by 250. Of
// the rows above the cursor, the last 4,096 cells are remembered, and nothing of a screen of more
// than 32,768 cells with something in them. Colours are not looked at, so that text in the colour
// of its background is not marked. The exact bytes are in the record beside the text.
//
// # Versions
//
// Texts are made once, by the version of ttydrain that ran then, and signed as they are. An audit
// computes the digests of the texts that a copy has, so that those of all versions are verified
// alike; it makes texts again only to find which of them was changed where a copy has no digest of
// each, and reports a range of records where another version made them. An enricher of an older
// version that takes over a session does not read the state of the terminal, and begins with an
// empty screen.
//
// # User documents
//
// The user document is a JWT (RFC 7519) that is expired when it is minted: it says who, it opens
// nothing. [CheckDocument] refuses one that is not expired, whatever made it, and a Transcript
// cannot be made without that check.
package enrich
