package growth

import (
	"context"
	"os"
	"time"

	"github.com/ttydrain/ttydrain/bench/drains"
	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/receivers"
)

// A scene is a flow that delivers to a witness.
type scene struct {
	*flow
	witness *receivers.Witness
}

func startScene(ctx context.Context, s *measure.Settings, flow flowSetup, witness receivers.WitnessSetup) (sc *scene, err error) {
	sc = new(scene)
	defer func() {
		if err != nil {
			sc.end()
		}
	}()
	if witness.Dir, err = os.MkdirTemp(s.Dir, "witness-"); err != nil {
		return sc, err
	}
	if sc.witness, err = receivers.StartWitness(ctx, witness); err != nil {
		return sc, err
	}
	sc.flow, err = startFlow(ctx, s, flow)
	return sc, err
}

// drain returns a drain of the witness. Its name is its path if it is an HTTPS drain.
func (sc *scene) drain(kind, name string) namedDrain {
	d := namedDrain{Name: name, Target: drains.Target{Type: kind, Address: sc.witness.Address, CAFile: sc.witness.CAFile}}
	if kind == "https" {
		d.Address += "/" + name
		d.Format = "ndjson"
	}
	return d
}

func (sc *scene) end() {
	if sc.flow != nil {
		sc.flow.end()
	}
	if sc.witness != nil {
		sc.witness.Close() // an error here is that of a run that has already failed
	}
}

// stopLive ends the live sessions and returns the state after their ends are recorded. It returns a
// [*measure.MissingError] if the store could not keep up.
func (sc *scene) stopLive() (flowState, error) {
	end, err := sc.do(flowOrder{Do: doStopLive})
	if err == nil && end.Lost != "" {
		err = measure.Missing("the store could not keep up, and %s", end.Lost)
	}
	return end, err
}

// finishLive returns the state before the live sessions are stopped, the state after that, and what
// has arrived of them at so many drains.
func (sc *scene) finishLive(drains int) (before, after flowState, got receivers.Observation, err error) {
	if before, err = sc.do(flowOrder{Do: doReport}); err != nil {
		return before, after, got, err
	}
	if after, err = sc.stopLive(); err != nil {
		return before, after, got, err
	}
	got, err = sc.witness.Query(receivers.WitnessQuestion{Drains: drains, Sessions: after.Sessions})
	return before, after, got, err
}

// doAll executes orders and returns the state after the last.
func (sc *scene) doAll(orders ...flowOrder) (state flowState, err error) {
	for _, o := range orders {
		if state, err = sc.do(o); err != nil {
			return state, err
		}
	}
	return state, nil
}

// A scenario is embedded in subjects that need no preparation, since each run sets up its own
// scene.
type scenario struct {
	settings *measure.Settings
	runs     int // completed
}

func (d *scenario) Prepare(_ context.Context, s *measure.Settings) error {
	d.settings = s
	return nil
}

func (d *scenario) Close() {}

// pass waits for some time.
func pass(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
