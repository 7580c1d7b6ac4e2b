package receivers

import (
	"fmt"
	"time"

	"github.com/ttydrain/ttydrain/bench/corpus"
	"github.com/ttydrain/ttydrain/bench/measure"
)

// whole says whether everything arrived, and nothing twice, as far as the receiver can tell.
func (r Received) Complete() error {
	if r.Records != r.Ends {
		return fmt.Errorf("%d records arrived of the %d that the ends of the sessions tell of", r.Records, r.Ends)
	}
	return nil
}

// exactly holds what has arrived, now that nothing more comes, against what was sent.
func (r *Receiver) Verify(f corpus.Filling) error {
	got, err := r.count()
	if err != nil {
		return err
	}
	return got.Verify(f)
}

func (r Received) Verify(f corpus.Filling) error {
	if err := r.Complete(); err != nil {
		return err
	}
	if r.Sessions != f.Sessions || r.Shown != f.Bytes {
		return fmt.Errorf("%d sessions of %d bytes arrived, of %d of %d bytes", r.Sessions, r.Shown, f.Sessions, f.Bytes)
	}
	return nil
}

// newSample makes the metrics of records that went to a receiver in a time, where the sender has
// used so much.
func NewSample(f corpus.Filling, took, used time.Duration, memory int64, got Received) measure.Sample {
	n := float64(got.Records)
	s := measure.Sample{
		measure.RecordsMeasured: n, measure.RecordsPerSecond: n / took.Seconds(), measure.SecondsPerMillion: used.Seconds() / n * 1e6, measure.PeakMemory: float64(memory) / 1e6,
		measure.BytesPerRecord: float64(f.Bytes) / float64(f.Records),
	}
	if got.Processor > 0 { // a node's is not measured
		s[measure.ReceiverPerMillion] = got.Processor.Seconds() / n * 1e6
		s[measure.ReceivedPerRecord] = float64(got.Bytes) / n
	}
	return s
}
