// Package tty plays sessions on the terminal of this process, with keys and the window's size, and
// leaves the terminal as it was.
package tty

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/ttydrain/ttydrain/pipeline/client"
	"github.com/ttydrain/ttydrain/pipeline/replay"
)

// A Player plays one session on standard output, which is a terminal.
type Player struct {
	Operation string // the session's ID
	Timeline  *replay.Timeline
	// Speed is the number of seconds of the session in one second.
	Speed float64
	// Start is the time in the session at which it begins.
	Start time.Duration
	// More has the records that come while it plays, and is closed after the last; nil for none.
	More <-chan *replay.Record

	title titleBar
}

// Play plays the session until its end, the key for it, a signal, or ctx is done, whose cause it
// returns. The terminal is then as it was before, whatever happens but a kill.
func (p *Player) Play(ctx context.Context) (err error) {
	keyboard, err := openKeyboard()
	if err != nil {
		return err
	}
	restore, err := client.MakeRaw(keyboard)
	if err != nil {
		return err
	}
	leave := sync.OnceValue(func() error {
		p.title.restore()
		return errors.Join(client.Discard(keyboard), restore())
	})
	defer func() { err = errors.Join(err, leave()) }() // after a panic, too
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	signals := client.CatchSignals()
	defer signals.Stop()
	received := 0
	defer signals.Handle(func(sig syscall.Signal) {
		cancel(client.EndedBy(sig))
		if received++; received > 1 { // the output is blocked
			restore()
			os.Exit(128 + int(sig))
		}
	})()

	keys, done := make(chan replay.Key), make(chan struct{})
	defer close(done)
	go replay.ReadKeys(keyboard, keys, done) // ends with a key after done, or with the process
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	go refresh(resized, keys, done) // ends with done

	p.title.operation = p.Operation
	if quit, err := p.awaitRoom(ctx, keys); quit || err != nil {
		return err
	}
	// What is on the terminal is scrolled up, where it can be found again.
	_, height := windowSize()
	os.Stdout.WriteString(strings.Repeat("\r\n", height) + "\x1b[H\x1b[2J")
	player := &replay.Player{Timeline: p.Timeline, Out: os.Stdout, Speed: p.Speed, Start: p.Start, Keys: keys, More: p.More, Status: p.title.show}
	ended, err := player.Run(ctx)
	if err := errors.Join(err, leave()); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr)
	if moments := p.Timeline.Moments(); ended && p.Timeline.Ended() {
		fmt.Fprintf(os.Stderr, "ttydrain: %s\n", moments[len(moments)-1].Notice)
	}
	return nil
}

// refresh sends KeyRefresh for each change of the window's size, until done is closed.
func refresh(resized <-chan os.Signal, keys chan<- replay.Key, done <-chan struct{}) {
	for {
		select {
		case <-resized:
		case <-done:
			return
		}
		select {
		case keys <- replay.KeyRefresh:
		case <-done:
			return
		}
	}
}

// openKeyboard returns the terminal that keys come from, whatever standard input is.
func openKeyboard() (*os.File, error) {
	if term.IsTerminal(int(os.Stdin.Fd())) {
		return os.Stdin, nil
	}
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("there is no terminal for the keys: %w; with --raw all is written at once", err)
	}
	return f, nil
}

// windowSize returns the size of the local terminal, or 80 by 24 if it is unknown.
func windowSize() (width, height int) {
	width, height, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return 80, 24
	}
	return width, height
}

// awaitRoom returns at once if the terminal is as large as the session's ever was. Otherwise it
// warns, and waits for a larger one or a key.
func (p *Player) awaitRoom(ctx context.Context, keys <-chan replay.Key) (quit bool, err error) {
	width, height := 0, 0
	for _, m := range p.Timeline.Moments() {
		width, height = max(width, m.Width), max(height, m.Height)
	}
	for warned := [2]int{}; ; {
		w, h := windowSize()
		if w >= width && h >= height {
			return false, nil
		}
		if now := [2]int{w, h}; now != warned {
			warned = now
			fmt.Fprintf(os.Stderr, "ttydrain: the session's terminal has up to %d by %d, and yours %d by %d, where its lines break elsewhere: enlarge it, or press space to play all the same, or q\r\n", width, height, w, h)
		}
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case k := <-keys:
			if k == replay.KeyQuit || k != replay.KeyRefresh {
				return k == replay.KeyQuit, nil
			}
		}
	}
}
