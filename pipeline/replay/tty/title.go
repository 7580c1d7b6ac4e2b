package tty

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/client"
	"github.com/ttydrain/ttydrain/pipeline/replay"
)

// A titleBar shows the state of a player in the terminal's title, where it hides nothing of the
// session.
type titleBar struct {
	operation string
	saved     bool // the terminal has saved the title before
}

// terminalsWithTitles are the prefixes of the names (TERM) of terminals that have a title.
var terminalsWithTitles = []string{"xterm", "screen", "tmux", "rxvt", "alacritty", "foot", "kitty", "wezterm", "vte", "konsole", "ghostty", "st-"}

// show shows a state.
func (b *titleBar) show(s replay.Status) {
	if !slices.ContainsFunc(terminalsWithTitles, func(name string) bool { return strings.HasPrefix(os.Getenv("TERM"), name) }) {
		return
	}
	if !b.saved { // by XTWINOPS, which has no answer
		os.Stdout.WriteString("\x1b[22;2t")
		b.saved = true
	}
	text := fmt.Sprintf("session %s: ", b.operation)
	switch {
	case s.Paused:
		text += "paused"
	case s.Live:
		text += "live"
	default:
		text += "playing"
	}
	text += fmt.Sprintf(" at %s of %s, speed %v", s.At.Round(time.Second/10), s.Duration.Round(time.Second/10), s.Speed)
	if w, h := windowSize(); s.Width > w || s.Height > h {
		text += fmt.Sprintf(", in a terminal of %d by %d", s.Width, s.Height)
	}
	os.Stdout.WriteString("\x1b]2;ttydrain: " + client.Printable(text) + "\a")
}

// restore restores the title from before.
func (b *titleBar) restore() {
	if b.saved {
		os.Stdout.WriteString("\x1b[23;2t")
	}
}
