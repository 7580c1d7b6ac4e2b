// Package enrich turns the raw output of a session into records that name the user who saw it.
//
// A [Transcript] receives one operation's chunks and returns its segments: it assembles lines,
// renders their text, updates the running digests, and attaches the operation with its user
// document. It is pure: it uses no stream and no clock except the times that it is passed. The same
// chunks always result in the same bytes, digests and offsets, wherever the chunks were cut.
//
// # Lines
//
// A record ends at a newline, at [MaxLine] bytes, at [MaxAge] after its first byte, when the
// terminal's size changes, or at the end of the session. Only a newline and the end of the session
// may cut an escape sequence or a UTF-8 rune; all other cuts are made before an unfinished one.
// There are two exceptions, because a session may print anything: a sequence that is longer than
// MaxLine is cut at MaxLine, and a newline ends every record. A line whose newline is in a control
// string is recorded when it is known whether the string ends.
//
// # Text
//
// The text of a record is its readable content. Without a terminal, that is the line without escape
// sequences and control characters. The output of a session with a terminal is rendered on an
// emulated terminal of the same size, which resolves line editing, redrawing and full-screen
// programs. A text holds the lines that its record wrote to, as they look at the record's end, from
// top to bottom, trimmed and joined by " ⏎ "; the rows of a wrapped line are one line. It also has
// the lines that the record wrote and that then scrolled away, were erased with the whole screen,
// or were on a screen that the program left for the alternate or the main one. Consecutive
// identical lines appear once.
//
// A command that was typed slowly spans several records. Each has the command as far as it was
// typed, and the record with its newline has the whole command. There are two limits: after MaxLine
// bytes the next record starts afresh, as does a record that would repeat more than 1,024 cells of
// an unfinished line. After editing a command of several lines, the record of the Enter has it from
// the first changed line on. A text that comes from the terminal has at most MaxLine bytes.
//
// Text that is gone at the record's end is marked with ⌫⟦…⟧ and precedes the lines that were
// written after it. A line (with panes side by side, the part in the pane) is marked if it was
// erased or overwritten after 300 ms on the screen, or after it was typed. It counts as typed if
// its runes arrived one after another or, in a full-screen program, if a carriage return without a
// line feed followed it, as after vim's ":" line. Text that is part of another line, or was in the
// text of an earlier record, is not repeated. A record has at most 64 such marks, with 4 KiB in
// total; ⌫⟦…⟧ with only an ellipsis shows that there were more. So a progress bar adds a line for
// each state that lasted 300 ms, and none for the others.
//
// Text that was written as invisible (SGR 8) is marked with ◌⟦…⟧. The brackets ⟦ and ⟧ are reserved
// for marks: the texts of output replace those of a session by [ and ].
//
// Durations are computed only from the times in the records, to the microsecond, so that the same
// records always have the same texts. Segments hold the terminal's state as far as later texts
// depend on it, so a text does not depend on where chunks and segments were cut or on restarts.
//
// Most lines only append to the bottom of the screen. They are kept in a history, and rendered only
// when something may move the cursor up to them. The terminal emulator is not a library, because it
// has to be cheap even under attack, to continue exactly after a restart, and never to block.
//
// Control strings (OSC, DCS, APC, PM, SOS, and ESC k, the title of screen and tmux) are not text,
// including the newlines in them. A string that does not end within MaxLine bytes or MaxAge ends
// with its line, so that it hides nothing; only lines that look like image data, without spaces,
// are treated as part of it.
//
// Not guaranteed: that the user's own terminal showed the same. The emulator assumes xterm with
// Unicode widths, tab stops at every eighth column and, at the start of the session and after a
// gap, the cursor at the left of the last row. The size is limited to 1,000 by 250. Of the rows
// above the cursor, the last 4,096 cells are remembered, and nothing of a screen with more than
// 32,768 non-empty cells. Colours are ignored, so text in the colour of its background is not
// marked. The exact bytes are in the record beside the text.
//
// # Versions
//
// Each text is rendered once, by the version of ttydrain that ran then, and signed in that form. An
// audit computes the digests from the texts in a copy, so it verifies texts of all versions. It
// renders texts again only to locate a changed text in a copy without a digest for each record, and
// reports a range of records if another version rendered them. When an enricher of an older version
// takes over a session, it ignores the terminal state and starts with an empty screen.
//
// # User documents
//
// The user document is a JWT (RFC 7519) that is already expired when it is minted: it identifies
// the user and authorizes nothing. [CheckDocument] refuses a document that has not expired,
// whatever its origin, and a Transcript cannot be created without that check.
package enrich
