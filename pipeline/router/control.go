package router

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// errControl is the cause with which delivery stops when the desired state has changed.
var errControl = errors.New("the desired state of the drain has changed")

// control holds the desired state of a drain, as operators set it, and whether the drain is gone.
// All workers of a drain share that state through the bus.
type control struct {
	bus      *bus.Bus
	drain    string
	settings func(salt string) string // fingerprint of the drain's settings; nil if they never change
	log      *slog.Logger

	mu      sync.Mutex // guards what follows
	desired schema.DrainControl
	changed chan struct{} // closed when desired changes
}

func newControl(t *target) *control {
	return &control{bus: t.bus, drain: t.drain.Name, settings: t.drain.Fingerprint, log: t.log, changed: make(chan struct{})}
}

// load reads the desired state from the bus.
func (c *control) load(ctx context.Context) error {
	desired, err := c.bus.DrainControl(ctx, c.drain)
	if err == nil {
		c.set(desired)
	}
	return err
}

// watch follows the desired state until ctx is done. It returns why it ended.
func (c *control) watch(ctx context.Context) error {
	return c.bus.WatchDrainControl(ctx, c.drain, c.set)
}

// get returns the desired state, and a channel that is closed when it changes.
func (c *control) get() (schema.DrainControl, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.desired, c.changed
}

func (c *control) set(desired schema.DrainControl) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if reflect.DeepEqual(c.desired, desired) {
		return
	}
	c.desired = desired
	close(c.changed)
	c.changed = make(chan struct{})
}

// fingerprint returns that of the drain's settings.
func (c *control) fingerprint(salt string) string {
	if c.settings == nil {
		return ""
	}
	return c.settings(salt)
}

// reconfigured reports whether the drain has other settings than when it was marked as gone.
func (c *control) reconfigured(gone *schema.Gone) bool {
	return gone.Settings != c.fingerprint(gone.Salt)
}

// markGone records, for all workers of the drain, that the drain reported to be gone.
func (c *control) markGone(ctx context.Context, why sinks.Item) error {
	gone := schema.Gone{Reason: why.Message(), Status: why.Status, At: time.Now().UTC(), Salt: rand.Text()}
	gone.Settings = c.fingerprint(gone.Salt)
	var desired schema.DrainControl
	first := false
	err := c.bus.ChangeDrainControl(ctx, c.drain, func(d *schema.DrainControl) {
		first = d.Gone == nil || c.reconfigured(d.Gone)
		if first {
			d.Gone = &gone
		}
		desired = *d
	})
	if err != nil {
		return err
	}
	if first {
		c.log.Error("the drain is gone: delivery is suspended", "reason", why.Message(), "status", why.Status,
			"advice", "correct the drain's settings, remove it, or run: ttydrain drains resume "+c.drain)
	}
	c.set(desired)
	return nil
}

// clearGone removes the mark of a drain that has other settings now.
func (c *control) clearGone(ctx context.Context, gone *schema.Gone) error {
	var desired schema.DrainControl
	err := c.bus.ChangeDrainControl(ctx, c.drain, func(d *schema.DrainControl) {
		if d.Gone != nil && d.Gone.Salt == gone.Salt {
			d.Gone = nil
		}
		desired = *d
	})
	if err != nil {
		return err
	}
	c.log.Info("the drain was gone and has new settings: delivery resumes")
	c.set(desired)
	return nil
}
