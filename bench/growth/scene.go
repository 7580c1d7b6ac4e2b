package growth

import (
	"context"
	"os"
	"time"

	"github.com/ttydrain/ttydrain/bench/drains"
	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/receivers"
)

// A scene is a flow with a witness at its end.
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

// drain is a drain of the witness: its type, and its name, which is its path where it has one.
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
		sc.witness.Close() // its error is that of a run that has failed already
	}
}

// quiet ends the live sessions, and gives the state when their ends are recorded. It is a
// *missingError where the store could not keep up.
func (sc *scene) quiet() (flowState, error) {
	end, err := sc.tell(flowOrder{Do: doQuiet})
	if err == nil && end.Lost != "" {
		err = measure.Missing("the store could not keep up, and %s", end.Lost)
	}
	return end, err
}

// tellAll gives orders, and the state after the last.
func (sc *scene) tellAll(orders ...flowOrder) (state flowState, err error) {
	for _, o := range orders {
		if state, err = sc.tell(o); err != nil {
			return state, err
		}
	}
	return state, nil
}

// A scenario is what the subjects have in common that need no preparation: each run sets a scene of
// its own.
type scenario struct {
	settings *measure.Settings
	runs     int // so far
}

func (d *scenario) Prepare(_ context.Context, s *measure.Settings) error {
	d.settings = s
	return nil
}

func (d *scenario) Close() {}

// pass lets time pass.
func pass(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
