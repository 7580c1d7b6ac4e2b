package pipeline

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// fingerprint is that of the drain's settings.
func (w *worker) fingerprint(salt string) string {
	if w.drain.Fingerprint == nil {
		return ""
	}
	return w.drain.Fingerprint(salt)
}

// gone notes that the drain has ceased to exist, for all its workers. Its error is errControl where
// that is done.
func (w *worker) gone(ctx context.Context, why sinks.Item) error {
	w.failing.Store(true)
	note := schema.Gone{Reason: why.Reason, Status: why.Status, At: time.Now().UTC(), Salt: rand.Text()}
	note.Settings = w.fingerprint(note.Salt)
	var wanted schema.DrainControl
	first := false
	err := w.bus.ChangeDrainControl(ctx, w.drain.Name, func(c *schema.DrainControl) {
		first = c.Gone == nil || c.Gone.Settings != w.fingerprint(c.Gone.Salt)
		if first {
			c.Gone = &note
		}
		wanted = *c
	})
	if err != nil {
		return err
	}
	if first {
		w.log.Error("THE DRAIN IS GONE: it says that it has ceased to exist, and nothing more is written to it. Its records wait in the stream, for as long as that keeps them. "+
			"Correct its settings, or remove it; if it is there again as it was, ttydrain drains resume goes on with it", "reason", why.Reason, "status", why.Status)
	}
	w.control.set(wanted)
	return errControl
}

// notGone takes back that the drain is gone: its settings are others than those with which it was.
func (w *worker) notGone(ctx context.Context, note *schema.Gone) error {
	var wanted schema.DrainControl
	err := w.bus.ChangeDrainControl(ctx, w.drain.Name, func(c *schema.DrainControl) {
		if c.Gone != nil && c.Gone.Salt == note.Salt {
			c.Gone = nil
		}
		wanted = *c
	})
	if err != nil {
		return err
	}
	w.log.Info("the drain was gone, and has other settings now: it is written to again")
	w.control.set(wanted)
	return nil
}
