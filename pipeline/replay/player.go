package replay

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// Limits of a player.
const (
	MinSpeed, MaxSpeed = 1.0 / 64, 1024
	// skip is the distance of a jump by an arrow key.
	skip = 5 * time.Second
	// maxWrite is the amount of output that is written at once.
	maxWrite = 1 << 20
)

// Player plays a timeline on a terminal, through a [Filter], controlled by keys.
type Player struct {
	Timeline *Timeline
	// Out is a terminal in raw mode, with a clear screen and the cursor at the top left.
	Out io.Writer
	// Speed is the playback speed relative to real time; 0 means 1.
	Speed float64
	// Start is the time at which playback begins. Earlier output is shown at once.
	Start time.Duration
	// Keys delivers the user's keys; may be nil.
	Keys <-chan Key
	// More delivers records that are added while the player runs, and is closed when there are no
	// more; nil if the timeline is complete. At the end of the timeline, new records are shown
	// immediately.
	More <-chan *Record
	// Status is called with each change, in Run's goroutine; may be nil.
	Status func(Status)

	// The fields below belong to Run.
	next     int           // index of the next moment
	at       time.Duration // the playback position at time since
	since    time.Time
	paused   bool
	complete bool // More is closed or nil
	size     [2]int
	filters  [2]Filter // by stream
	out      []byte
}

// Status is the state of a player.
type Status struct {
	Paused       bool
	Live         bool // new records are shown immediately
	Speed        float64
	At, Duration time.Duration
	// Width and Height are the current size of the session's terminal; 0 if it had none.
	Width, Height int
}

// Run plays until the end, which it reports as ended, until KeyQuit, or until ctx is done, and then
// returns the context's cause. It restores the terminal's default modes, except after an error in
// writing to it.
func (p *Player) Run(ctx context.Context) (ended bool, err error) {
	p.complete = p.More == nil
	if p.Speed == 0 {
		p.Speed = 1
	}
	p.at, p.since = p.Start, time.Now()
	defer func() {
		p.out = p.reset(p.out[:0])
		if flushErr := p.flush(); err == nil {
			err = flushErr
		}
	}()
	reported := false
	for {
		if err := p.show(); err != nil {
			return false, err
		}
		if p.atEnd() && p.complete && !p.paused {
			return true, nil
		}
		if !reported {
			p.reportStatus()
			reported = true
		}
		var timer <-chan time.Time
		if !p.paused && !p.atEnd() {
			wait := float64(p.Timeline.moments[p.next].At-p.at) / p.Speed
			timer = time.After(time.Duration(min(wait, float64(time.Hour))) + 1) // checks again after an hour
		}
		more := p.More
		if p.complete {
			more = nil
		}
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-timer:
			p.advance()
		case r, ok := <-more:
			live := p.live()
			p.advance()
			if !ok {
				p.complete, reported = true, false
				break
			}
			p.Timeline.Add(r)
			if live {
				p.at = p.Timeline.at
			}
		case k, ok := <-p.Keys:
			if !ok {
				p.Keys = nil
				break
			}
			p.advance()
			if k == KeyQuit {
				return false, nil
			}
			if err := p.press(k); err != nil {
				return false, err
			}
			reported = false
		}
	}
}

func (p *Player) atEnd() bool { return p.next == len(p.Timeline.moments) }

// live reports whether new records are shown immediately.
func (p *Player) live() bool { return !p.complete && !p.paused && p.atEnd() }

// advance moves the position by the time that has passed, but not beyond the end.
func (p *Player) advance() {
	now := time.Now()
	if !p.paused {
		p.at = min(p.at+time.Duration(float64(now.Sub(p.since))*p.Speed), p.Timeline.Duration())
	}
	p.since = now
}

// show writes the output up to the current position.
func (p *Player) show() error {
	for ; !p.atEnd() && p.Timeline.moments[p.next].At <= p.at; p.next++ {
		p.append(&p.Timeline.moments[p.next])
		if len(p.out) >= maxWrite {
			if err := p.flush(); err != nil {
				return err
			}
		}
	}
	return p.flush()
}

func (p *Player) append(m *Moment) {
	switch m.Event {
	case schema.EventOutput:
		p.out = p.filters[m.Stream].Append(p.out, p.Timeline.Show(m))
	case schema.EventGap, schema.EventTransfer:
		p.out = append(p.out, "\r\n\x1b[0;7m ttydrain: "...)
		p.out = append(append(p.out, m.Notice...), " \x1b[0m\r\n"...)
	case schema.EventStart, schema.EventResize:
		p.size = [2]int{m.Width, m.Height}
		p.reportStatus()
	}
}

// reset appends the sequences that return the terminal to its initial state.
func (p *Player) reset(dst []byte) []byte {
	out, err := &p.filters[schema.Stdout], &p.filters[schema.Stderr]
	out.alt, out.originModes = out.alt || err.alt, out.originModes || err.originModes
	*err = Filter{}
	return out.AppendReset(dst)
}

func (p *Player) flush() error {
	if len(p.out) == 0 {
		return nil
	}
	_, err := p.Out.Write(p.out)
	p.out = p.out[:0]
	if err != nil {
		return fmt.Errorf("write to the terminal: %w", err)
	}
	return nil
}

func (p *Player) reportStatus() {
	if p.Status != nil {
		p.Status(Status{Paused: p.paused, Live: p.live(), Speed: p.Speed, At: p.at, Duration: p.Timeline.Duration(), Width: p.size[0], Height: p.size[1]})
	}
}

// press executes the command of a key.
func (p *Player) press(k Key) error {
	switch k {
	case KeyPause:
		p.paused = !p.paused
	case KeyStep:
		p.paused = true
		for !p.atEnd() { // up to the next visible moment
			m := &p.Timeline.moments[p.next]
			p.append(m)
			p.next++
			p.at = m.At
			if m.Event == schema.EventOutput || m.Event == schema.EventGap || m.Event == schema.EventTransfer {
				break
			}
		}
		return p.flush()
	case KeyFaster:
		p.Speed = min(p.Speed*2, MaxSpeed)
	case KeySlower:
		p.Speed = max(p.Speed/2, MinSpeed)
	case KeyBack:
		p.jump(p.at - skip)
	case KeyForward:
		p.jump(p.at + skip)
	case KeyEnd:
		p.jump(p.Timeline.Duration())
	case KeyRefresh:
	default:
		if tenth := time.Duration(k - KeyTenth); 0 <= tenth && tenth <= 9 {
			p.jump(p.Timeline.Duration() / 10 * tenth)
		}
	}
	return nil
}

// jump moves to another position. To go back, it replays everything from the start at once.
func (p *Player) jump(to time.Duration) {
	to = min(max(to, 0), p.Timeline.Duration())
	if to < p.at {
		p.out = append(p.reset(p.out), clearScreen...)
		p.next = 0
	}
	p.at = to
}
