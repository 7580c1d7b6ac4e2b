package receive

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"

	"golang.org/x/term"
	"golang.org/x/text/width"
)

// PrinterOptions configure a [Printer].
type PrinterOptions struct {
	Color bool
	// Width is the number of terminal cells to which lines are cut; 0 means no limit.
	Width int
	// JSON prints the objects as they were received, one per line, and syslog messages as objects.
	JSON bool
	// Location is the time zone of the printed times; nil means the local one.
	Location *time.Location
}

// TerminalOptions returns the options for a file: colors and the width if it is a terminal, neither
// otherwise. Colors are also disabled by the environment variables NO_COLOR (see no-color.org) and
// TERM=dumb.
func TerminalOptions(f *os.File) PrinterOptions {
	fd := int(f.Fd())
	if !term.IsTerminal(fd) {
		return PrinterOptions{}
	}
	o := PrinterOptions{Color: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
	if w, _, err := term.GetSize(fd); err == nil {
		o.Width = w
	}
	return o
}

// Printer prints records for people to read, one per line:
//
//	https   09:30:00  op 7      Ada Lovelace    ▶ session started
//	https   09:30:01  op 7      Ada Lovelace    │ $ ls
//	syslog  09:30:01  op 7                      │ $ ls
//
// The symbols are: ▶ start, │ output, ┆ output that continues in the next record, ! standard error,
// ↔ resize, ⚠ gap, ■ end. Received control characters are never printed, so that a record cannot
// affect the reader's terminal. A Printer is not safe for concurrent use.
type Printer struct {
	w    io.Writer
	o    PrinterOptions
	line bytes.Buffer // reused from line to line
}

// NewPrinter returns a printer that writes each line to w with a single call of Write.
func NewPrinter(w io.Writer, o PrinterOptions) *Printer {
	if o.Location == nil {
		o.Location = time.Local
	}
	return &Printer{w: w, o: o}
}

// Print prints one record.
func (p *Printer) Print(r Received) error {
	p.line.Reset()
	if p.o.JSON {
		if err := p.json(r); err != nil {
			return err
		}
	} else {
		p.human(r)
	}
	p.line.WriteByte('\n')
	_, err := p.w.Write(p.line.Bytes())
	return err
}

// Colors, as SGR parameters (ECMA-48 §8.3.117).
const (
	bold    = "1"
	dim     = "2"
	red     = "31"
	green   = "32"
	yellow  = "33"
	blue    = "34"
	magenta = "35"
	cyan    = "36"
	plain   = ""
)

// clockLayout is the time of day of RFC 3339, with the offset of the time zone.
const clockLayout = "15:04:05Z07:00"

// Widths of the columns in cells, without the separators.
const (
	drainWidth     = 6
	operationWidth = 8
	userWidth      = 14
	// textWidth is the minimum width of the text, even in a narrow terminal.
	textWidth = 20
)

func (p *Printer) human(r Received) {
	rec := &r.Record
	color := cyan
	if r.Drain == Syslog {
		color = magenta
	}
	used := p.cell(string(r.Drain), drainWidth, color)
	at := rec.Timestamp
	if at.IsZero() {
		at = r.At
	}
	clock := at.In(p.o.Location).Format(clockLayout)
	used += p.cell(clock, len(clock), dim)
	operation := ""
	if rec.OperationID != "" {
		operation = "op " + rec.OperationID
	}
	// The ID is not truncated: a truncated ID would be another operation's.
	used += p.cell(operation, max(operationWidth, min(len(operation), 2*operationWidth+userWidth)), blue)
	used += p.cell(rec.OperationUserName, userWidth, plain)
	symbol, symbolColor, textColor := appearance(rec)
	p.paint(symbol, symbolColor)
	p.line.WriteByte(' ')
	used += 2
	text := rec.Text
	if text == "" && rec.Event == "" {
		text = string(r.Raw) // not a record of ttydrain
	}
	if r.Repeat {
		text = "(repeat) " + text
	}
	text = strings.TrimRight(safe(text), " ")
	if p.o.Width > 0 {
		text = cut(text, max(p.o.Width-used, textWidth))
	}
	p.paint(text, textColor)
	if text == "" { // no trailing space
		p.line.Truncate(p.line.Len() - 1)
	}
}

// appearance returns a record's symbol, the symbol's color and the color of the text.
func appearance(rec *Record) (symbol, symbolColor, textColor string) {
	switch rec.Event {
	case "start":
		return "▶", green, bold
	case "resize":
		return "↔", cyan, dim
	case "gap":
		return "⚠", yellow, yellow
	case "end":
		if rec.ExitStatus != nil && *rec.ExitStatus != 0 {
			return "■", red, bold
		}
		return "■", green, bold
	}
	switch {
	case rec.Stream == "stderr":
		return "!", red, plain
	case rec.Partial:
		return "┆", dim, plain
	default:
		return "│", dim, plain
	}
}

// cell prints a column with its separator and returns their width in cells.
func (p *Printer) cell(s string, cells int, color string) int {
	s = cut(safe(s), cells)
	p.paint(s, color)
	for range cells + 2 - cellsOf(s) {
		p.line.WriteByte(' ')
	}
	return cells + 2
}

func (p *Printer) paint(s, color string) {
	if !p.o.Color || color == plain || s == "" {
		p.line.WriteString(s)
		return
	}
	fmt.Fprintf(&p.line, "\x1b[%sm%s\x1b[0m", color, s)
}

// json prints an object on one line. Characters that could affect a terminal occur in strings only
// and are escaped there, so that the value is unchanged.
func (p *Printer) json(r Received) error {
	var object bytes.Buffer
	if r.Syslog != nil {
		encoder := json.NewEncoder(&object)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(r.Syslog); err != nil {
			return fmt.Errorf("print a syslog message: %w", err)
		}
		object.Truncate(object.Len() - 1) // the newline
	} else if err := json.Compact(&object, r.Raw); err != nil {
		return fmt.Errorf("print a record: %w", err)
	}
	for _, c := range object.String() {
		switch {
		case isSafe(c):
			p.line.WriteRune(c)
		case c > 0xffff:
			c -= 0x10000
			fmt.Fprintf(&p.line, `\u%04x\u%04x`, 0xd800+c>>10, 0xdc00+c&0x3ff)
		default:
			fmt.Fprintf(&p.line, `\u%04x`, c)
		}
	}
	return nil
}

// isSafe reports whether a character cannot affect a terminal: it is not a control character and
// does not change the direction of text. Joiners are allowed for emoji and some scripts,
// private-use characters for prompts.
func isSafe(c rune) bool {
	return unicode.IsGraphic(c) || unicode.Is(unicode.Co, c) || c == '\u200c' || c == '\u200d'
}

// safe replaces the characters that could affect a terminal.
func safe(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case isSafe(c):
			return c
		case c < 0x20:
			return '\u2400' + c // its control picture
		case c == 0x7f:
			return '\u2421'
		default:
			return unicode.ReplacementChar
		}
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// cut truncates text to a number of cells and marks the cut with "…".
func cut(s string, cells int) string {
	if cellsOf(s) <= cells {
		return s
	}
	used := 0
	for i, c := range s {
		if used += runeCells(c); used > cells-1 {
			return s[:i] + "…"
		}
	}
	return s
}

func cellsOf(s string) int {
	n := 0
	for _, c := range s {
		n += runeCells(c)
	}
	return n
}

func runeCells(c rune) int {
	if c < 0x7f {
		return 1
	}
	if unicode.In(c, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	switch width.LookupRune(c).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	default:
		return 1
	}
}
