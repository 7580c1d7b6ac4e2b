package bus

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/pipeline/measure"
)

// embedded is a NATS server inside this process, which listens on no port. It can be restarted,
// which appears to its connections as an interruption.
//
// A stream whose file could not be written accepts nothing more and answers nothing, even when
// there is space again: only a restart of the server repairs it. watch does that when the disk has
// space.
type embedded struct {
	dir          string
	sync         time.Duration // 0: acknowledged messages are synced
	log          *slog.Logger
	disk         *disk
	ballast      *ballast
	syncDuration prometheus.Histogram // duration of each sync that is done here
	// alarm, of cap 1, receives a value when the server has logged a problem.
	alarm chan struct{}

	mu     sync.Mutex
	server *server.Server     // guarded by mu; nil while it is stopped
	synced map[string]*synced // guarded by mu: by stream name, for streams in use
}

// watchEvery is the interval of checking a server that can store nothing.
const watchEvery = time.Second

// refillEvery is the interval of allocating a ballast that is missing.
const refillEvery = time.Minute

func newEmbedded(dir string, sync time.Duration, log *slog.Logger) *embedded {
	return &embedded{
		dir: dir, sync: sync, log: log, disk: newDisk(dir), ballast: newBallast(dir), alarm: make(chan struct{}, 1), synced: make(map[string]*synced),
		syncDuration: prometheus.NewHistogram(measure.Seconds("store", "sync_duration_seconds",
			"Duration of syncing recorded data to the disk, for all sessions together and each stream separately.")),
	}
}

// syncBlocks is the interval at which the server maintains its files: it compacts those with much
// removed data.
const syncBlocks = 10 * time.Second

// start starts the server. On a full disk, the ballast has the space to open the files.
func (e *embedded) start() error {
	released, err := e.ballast.release()
	if err != nil {
		return err
	}
	if released {
		e.log.Warn("the disk of the store is full: its ballast was released to open the store; make room")
	}
	opts := &server.Options{
		ServerName: "ttydrain",
		JetStream:  true,
		StoreDir:   e.dir,
		DontListen: true,
		NoSigs:     true,
		// Not SyncAlways, which syncs for each message separately: see synced.
		SyncInterval: cmp.Or(e.sync, syncBlocks),
		MaxPayload:   maxPayload,
		// All drains read over one connection, and each requests only as much as it can hold
		// (readAheadBytes): data in flight to many drains is no reason to close it.
		MaxPending: 1 << 30,
		// The current free space decides: see disk. By default, the server would limit itself to
		// three quarters of the free space at its start.
		JetStreamMaxStore: 1 << 60,
		// A drain has up to two consumers for each partition; the default of 1000 per stream would
		// limit the number of drains.
		JetStreamLimits: server.JSLimitOpts{DefaultMaxConsumers: -1},
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("set up the embedded NATS server: %w", err)
	}
	s.SetLoggerV2(&serverLog{e.log, e.alarm}, false, false, false)
	go s.Start() // ended by Shutdown
	if !s.ReadyForConnections(30 * time.Second) {
		s.Shutdown()
		return errors.New("the embedded NATS server did not start: is another ttydrain using the same store?")
	}
	if !s.JetStreamEnabled() {
		s.Shutdown()
		return fmt.Errorf("the embedded NATS server could not open its store %s: check that it is writable and has space", e.dir)
	}
	if err := e.opened(s); err != nil {
		s.Shutdown()
		s.WaitForShutdown()
		return err
	}
	// Before anything else takes the space that opening the store has left.
	if err := e.ballast.take(released); err != nil {
		e.log.Warn("no space is kept for a start on a full disk", "error", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.server = s
	for _, stream := range e.synced {
		stream.reset()
	}
	return nil
}

// opened returns an error if the server has not opened a stream of its store: it only logs that,
// and the stream would look like one that does not exist.
func (e *embedded) opened(s *server.Server) error {
	folders, err := os.ReadDir(e.folder())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list the streams of the store: %w", err)
	}
	state, err := s.Jsz(&server.JSzOptions{Accounts: true, Streams: true})
	if err != nil {
		return fmt.Errorf("list the streams of the embedded NATS server: %w", err)
	}
	open := make(map[string]bool)
	for _, account := range state.AccountDetails {
		for _, stream := range account.Streams {
			open[stream.Name] = true
		}
	}
	for _, f := range folders {
		// A folder without these files is of a stream whose creation was interrupted.
		_, meta := os.Stat(filepath.Join(e.folder(), f.Name(), server.JetStreamMetaFile))
		_, sum := os.Stat(filepath.Join(e.folder(), f.Name(), server.JetStreamMetaFileSum))
		if meta == nil && sum == nil && !open[f.Name()] {
			return fmt.Errorf("the embedded NATS server could not open the stream %s in %s, whose data is kept: make room on its disk if that is full, and check that its files are readable; then start ttydrain again", f.Name(), e.dir)
		}
	}
	return nil
}

// syncedOf returns the sync state of a stream with files; nil if nothing waits for syncs.
func (e *embedded) syncedOf(stream string) *synced {
	if e == nil || e.sync > 0 {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.synced[stream] == nil {
		files := &blocks{dir: filepath.Join(e.folder(), stream, "msgs")}
		e.synced[stream] = &synced{sync: files.sync, close: files.close, duration: e.syncDuration, failed: e.syncFailed}
	}
	return e.synced[stream]
}

// folder returns the folder that contains the server's folder of each stream.
func (e *embedded) folder() string {
	return filepath.Join(e.dir, server.JetStreamStoreDir, server.DEFAULT_GLOBAL_ACCOUNT, "streams")
}

// syncFailed triggers a restart of the server after a failed sync.
func (e *embedded) syncFailed(err error) {
	e.log.Error("store not synced to its disk", "error", err)
	ring(e.alarm)
}

// settle syncs the list of streams and their configurations to the disk.
func (e *embedded) settle() error {
	if e.sync > 0 {
		return nil
	}
	streams, err := os.ReadDir(e.folder())
	if err != nil {
		return fmt.Errorf("list the streams of the store: %w", err)
	}
	for _, s := range streams {
		if err := syncFiles(filepath.Join(e.folder(), s.Name())); err != nil {
			return fmt.Errorf("sync the stream %s to the disk: %w", s.Name(), err)
		}
	}
	for dir := e.folder(); dir != filepath.Dir(e.dir); dir = filepath.Dir(dir) {
		if err := syncFile(dir); err != nil {
			return fmt.Errorf("sync the store to the disk: %w", err)
		}
	}
	return nil
}

// settleStream syncs the files of a stream's messages.
func (e *embedded) settleStream(stream string) error {
	if err := syncFiles(filepath.Join(e.folder(), stream, "msgs")); err != nil {
		return fmt.Errorf("sync the stream %s to the disk: %w", stream, err)
	}
	return nil
}

// stop stops the server. It may be called repeatedly.
func (e *embedded) stop() {
	e.mu.Lock()
	s := e.server
	e.server = nil
	e.mu.Unlock()
	if s != nil {
		s.Shutdown()
		s.WaitForShutdown()
	}
}

// close stops the server permanently.
func (e *embedded) close() {
	e.stop()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, stream := range e.synced {
		stream.close()
	}
}

// InProcessConn connects to the current server.
func (e *embedded) InProcessConn() (net.Conn, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.server == nil {
		return nil, errors.New("the embedded NATS server is being restarted")
	}
	return e.server.InProcessConn()
}

// watch restarts the server whenever it can store nothing, once the disk has space, and then calls
// started; it retries until that succeeds. It also allocates a ballast that is missing. It ends
// when over is closed.
func (e *embedded) watch(over <-chan struct{}, started func() error) {
	refill := time.NewTicker(refillEvery)
	defer refill.Stop()
	for {
		select {
		case <-e.alarm:
		case <-refill.C:
			if err := e.ballast.take(false); err != nil {
				e.log.Warn("no space is kept for a start on a full disk", "error", err)
			}
			continue
		case <-over:
			return
		}
		err := e.broken()
		if err == nil {
			continue
		}
		e.disk.fail(err)
		e.log.Error("embedded NATS server can store nothing; it is restarted when its disk has space", "error", err)
		tick := time.NewTicker(watchEvery)
		for e.disk.failure() != nil {
			select {
			case <-tick.C:
			case <-over:
				tick.Stop()
				return
			}
			if !e.disk.hasReserve() {
				continue
			}
			if err := e.restart(started); err != nil {
				e.log.Error("embedded NATS server not restarted, retrying", "error", err)
				continue
			}
			e.log.Info("embedded NATS server restarted, sessions are recorded again")
			e.disk.fail(nil)
		}
		tick.Stop()
	}
}

func (e *embedded) restart(started func() error) error {
	e.stop()
	if err := e.start(); err != nil {
		return err
	}
	return started()
}

// broken returns an error if streams can store nothing.
func (e *embedded) broken() error {
	e.mu.Lock()
	s := e.server
	var failed []error
	for _, stream := range e.synced {
		if err := stream.failure(); err != nil {
			failed = append(failed, err)
		}
	}
	e.mu.Unlock()
	if s == nil {
		return nil
	}
	if !s.JetStreamEnabled() {
		return errors.New("its JetStream was disabled")
	}
	for _, problem := range s.Healthz(&server.HealthzOptions{Details: true}).Errors {
		// A stream that was just created or removed can be missing.
		if problem.Type == server.HealthzErrorStream && strings.Contains(problem.Error, "write error") {
			failed = append(failed, errors.New(problem.Error))
		}
	}
	return errors.Join(failed...)
}

// serverLog forwards the server's log messages; its notices are of no interest to operators.
type serverLog struct {
	log   *slog.Logger
	alarm chan<- struct{}
}

func (l *serverLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *serverLog) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)); l.ring() }
func (l *serverLog) Errorf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)); l.ring() }
func (l *serverLog) Fatalf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)); l.ring() }
func (l *serverLog) Debugf(string, ...any)           {}
func (l *serverLog) Tracef(string, ...any)           {}

func (l *serverLog) ring() { ring(l.alarm) }

// ring signals that something may be wrong. It never blocks, because the server holds locks while
// it logs.
func ring(alarm chan<- struct{}) {
	select {
	case alarm <- struct{}{}:
	default:
	}
}
