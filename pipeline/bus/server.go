package bus

import (
	"cmp"
	"errors"
	"fmt"
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

// An embedded is a NATS server inside this process, which listens on no port. It can be started
// again, which the connections to it take for an interruption.
//
// A stream whose file could not be written takes nothing any more, however much room there is
// later, and answers nothing: the server's way back is a new start. watch does that, when the disk
// has room.
type embedded struct {
	dir  string
	sync time.Duration // 0: what is acknowledged is on the disk
	log  *slog.Logger
	disk *disk
	took prometheus.Histogram // how long each sync took, of those that are made here
	// alarm, of cap 1, has something in it when the server has said that something is wrong.
	alarm chan struct{}

	mu     sync.Mutex
	server *server.Server     // guarded by mu; nil while there is none
	synced map[string]*synced // guarded by mu: by the names of streams, those that were asked for
}

// watchEvery is how often a server that can store nothing is looked after.
const watchEvery = time.Second

func newEmbedded(dir string, sync time.Duration, log *slog.Logger) *embedded {
	return &embedded{
		dir: dir, sync: sync, log: log, disk: newDisk(dir), alarm: make(chan struct{}, 1), synced: make(map[string]*synced),
		took: prometheus.NewHistogram(measure.Seconds("store", "sync_duration_seconds",
			"How long it took to have on the disk what was recorded since the sync before, of all sessions together; of each stream for itself.")),
	}
}

// syncBlocks is how often the server looks after its files by itself: it makes those smaller of
// which much was removed.
const syncBlocks = 10 * time.Second

// start starts the server.
func (e *embedded) start() error {
	opts := &server.Options{
		ServerName: "ttydrain",
		JetStream:  true,
		StoreDir:   e.dir,
		DontListen: true,
		NoSigs:     true,
		// Not SyncAlways, with which each message waits for a sync of its own: see synced.
		SyncInterval: cmp.Or(e.sync, syncBlocks),
		MaxPayload:   maxPayload,
		// All drains read over one connection, and none of them asks for more than it can hold
		// (readAheadBytes): what is on its way to many is no reason to end it.
		MaxPending: 1 << 30,
		// The disk decides, as it is at the time of writing: see disk. The server would take three
		// quarters of what was free at its start for the most.
		JetStreamMaxStore: 1 << 60,
		// A drain has up to two consumers for each partition; the default of 1000 a stream would
		// bound the drains.
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
	e.mu.Lock()
	defer e.mu.Unlock()
	e.server = s
	for _, stream := range e.synced {
		stream.reset()
	}
	return nil
}

// syncedOf gives how far a stream with files is on the disk; nil where nobody is to wait for that.
func (e *embedded) syncedOf(stream string) *synced {
	if e == nil || e.sync > 0 {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.synced[stream] == nil {
		files := &blocks{dir: filepath.Join(e.folder(), stream, "msgs")}
		e.synced[stream] = &synced{sync: files.sync, close: files.close, took: e.took, failed: e.unsynced}
	}
	return e.synced[stream]
}

// folder is where the server has a folder for each stream.
func (e *embedded) folder() string {
	return filepath.Join(e.dir, server.JetStreamStoreDir, server.DEFAULT_GLOBAL_ACCOUNT, "streams")
}

// unsynced has the server started again after a sync that failed.
func (e *embedded) unsynced(err error) {
	e.log.Error("the store can't be synced to its disk", "error", err)
	ring(e.alarm)
}

// settle has on the disk which streams there are, and their configurations.
func (e *embedded) settle() error {
	if e.sync > 0 {
		return nil
	}
	streams, err := os.ReadDir(e.folder())
	if err != nil {
		return fmt.Errorf("look at the streams of the store: %w", err)
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

// stop ends the server. It may be called again.
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

// close is stop, for good.
func (e *embedded) close() {
	e.stop()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, stream := range e.synced {
		stream.close()
	}
}

// InProcessConn connects to the server that there is at the time.
func (e *embedded) InProcessConn() (net.Conn, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.server == nil {
		return nil, errors.New("the embedded NATS server is being started again")
	}
	return e.server.InProcessConn()
}

// watch starts the server again whenever it can store nothing, once the disk has room, and then
// calls started, until that succeeds. It ends when over is closed.
func (e *embedded) watch(over <-chan struct{}, started func() error) {
	for {
		select {
		case <-e.alarm:
		case <-over:
			return
		}
		err := e.broken()
		if err == nil {
			continue
		}
		e.disk.fail(err)
		e.log.Error("the embedded NATS server can store nothing any more: it is started again when its disk has room", "error", err)
		tick := time.NewTicker(watchEvery)
		for e.disk.failure() != nil {
			select {
			case <-tick.C:
			case <-over:
				tick.Stop()
				return
			}
			if !e.disk.spacious() {
				continue
			}
			if err := e.restart(started); err != nil {
				e.log.Error("the embedded NATS server could not be started again, which is tried for as long as it takes", "error", err)
				continue
			}
			e.log.Info("the embedded NATS server was started again, and takes what sessions show")
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

// broken says which streams can store nothing.
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
		// A stream that has just been made or removed can be missing.
		if problem.Type == server.HealthzErrorStream && strings.Contains(problem.Error, "write error") {
			failed = append(failed, errors.New(problem.Error))
		}
	}
	return errors.Join(failed...)
}

// serverLog passes what the server has to say on: its notices tell nothing that an operator needs.
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

// ring says that something may be wrong. It never waits: the server holds locks while it logs.
func ring(alarm chan<- struct{}) {
	select {
	case alarm <- struct{}{}:
	default:
	}
}
