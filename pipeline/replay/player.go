package replay

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// Bounds of a player.
const (
	MinSpeed, MaxSpeed = 1.0 / 64, 1024
	// skip is how far an arrow key goes.
	skip = 5 * time.Second
	// maxWrite is how much is written at once.
	maxWrite = 1 << 20
)

// A Player plays a timeline on a terminal, through a [Filter], and does what keys say.
type Player struct {
	Timeline *Timeline
	// Out is a terminal in raw mode, clean and with the cursor at its top.
	Out io.Writer
	// Speed is how many seconds of the session pass in one; 0 is 1.
	Speed float64
	// Start is from where it plays; what was before is shown at once.
	Start time.Duration
	// Keys may be nil: then nothing stops it.
	Keys <-chan Key
	// More has records that come while it plays, and is closed when there won't be any; nil where all
	// are in the timeline. At the end of what there is, what comes is shown as it comes.
	More <-chan *Record
	// Status is told of each change, in Run's goroutine; nil for not.
	Status func(Status)

	// What follows is Run's.
	next    int           // the moment to be shown next
	at      time.Duration // how far the session has been played, at since
	since   time.Time
	paused  bool
	over    bool // More is closed, or was nil
	size    [2]int
	filters [2]Filter // by stream
	out     []byte
}

// Status is what a player does.
type Status struct {
	Paused       bool
	Live         bool // what comes is shown as it comes
	Speed        float64
	At, Duration time.Duration
	// Width and Height are the terminal's in the session at this time; 0 where it had none.
	Width, Height int
}

// Run plays until the end, which it then says, the key for it, or ctx is done, of which it returns
// the cause. It leaves the terminal's modes as they are when one starts, in any case but an error
// in writing to it.
func (p *Player) Run(ctx context.Context) (ended bool, err error) {
	p.over = p.More == nil
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
	told := false
	for {
		if err := p.show(); err != nil {
			return false, err
		}
		if p.atEnd() && p.over && !p.paused {
			return true, nil
		}
		if !told {
			p.tell()
			told = true
		}
		var due <-chan time.Time
		if !p.paused && !p.atEnd() {
			wait := float64(p.Timeline.moments[p.next].At-p.at) / p.Speed
			due = time.After(time.Duration(min(wait, float64(time.Hour))) + 1) // after an hour it looks again
		}
		more := p.More
		if p.over {
			more = nil
		}
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-due:
			p.advance()
		case r, ok := <-more:
			live := p.live()
			p.advance()
			if !ok {
				p.over, told = true, false
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
			told = false
		}
	}
}

func (p *Player) atEnd() bool { return p.next == len(p.Timeline.moments) }

// live says that what comes is shown as it comes.
func (p *Player) live() bool { return !p.over && !p.paused && p.atEnd() }

// advance lets the session go on by the time that has passed. It does not go past its end.
func (p *Player) advance() {
	now := time.Now()
	if !p.paused {
		p.at = min(p.at+time.Duration(float64(now.Sub(p.since))*p.Speed), p.Timeline.Duration())
	}
	p.since = now
}

// show shows what is due.
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
		p.tell()
	}
}

// reset appends what brings the terminal back to how it was at the start.
func (p *Player) reset(dst []byte) []byte {
	out, err := &p.filters[schema.Stdout], &p.filters[schema.Stderr]
	out.alt, out.placed = out.alt || err.alt, out.placed || err.placed
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

func (p *Player) tell() {
	if p.Status != nil {
		p.Status(Status{Paused: p.paused, Live: p.live(), Speed: p.Speed, At: p.at, Duration: p.Timeline.Duration(), Width: p.size[0], Height: p.size[1]})
	}
}

// press does what a key says.
func (p *Player) press(k Key) error {
	switch k {
	case KeyPause:
		p.paused = !p.paused
	case KeyStep:
		p.paused = true
		for !p.atEnd() { // up to something that is seen
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

// jump goes to another time. Back means to show all from the start again, at once.
func (p *Player) jump(to time.Duration) {
	to = min(max(to, 0), p.Timeline.Duration())
	if to < p.at {
		p.out = append(p.reset(p.out), clearScreen...)
		p.next = 0
	}
	p.at = to
}
