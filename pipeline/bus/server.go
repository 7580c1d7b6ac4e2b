package bus

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// startServer starts a NATS server inside this process, which listens on no port.
// sync is how often its files are synced to disk; 0 means after every write.
func startServer(dir string, sync time.Duration, log *slog.Logger) (*server.Server, error) {
	opts := &server.Options{
		ServerName: "ttydrain",
		JetStream:  true,
		StoreDir:   dir,
		DontListen: true,
		NoSigs:     true,
		SyncAlways: sync == 0,
		MaxPayload: maxPayload,
	}
	if sync > 0 { // with SyncAlways it is not used, and NATS's own default
		opts.SyncInterval = sync
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("set up the embedded NATS server: %w", err)
	}
	s.SetLoggerV2(&serverLog{log}, false, false, false)
	go s.Start() // ended by Shutdown
	if !s.ReadyForConnections(30 * time.Second) {
		s.Shutdown()
		return nil, errors.New("the embedded NATS server did not start: is another ttydrain using the same store?")
	}
	if !s.JetStreamEnabled() {
		s.Shutdown()
		return nil, fmt.Errorf("the embedded NATS server could not open its store %s: check that it is writable and has space", dir)
	}
	return s, nil
}

// serverLog passes what the server has to say on: its notices tell nothing that an operator needs.
type serverLog struct{ log *slog.Logger }

func (l *serverLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *serverLog) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l *serverLog) Errorf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l *serverLog) Fatalf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l *serverLog) Debugf(string, ...any)           {}
func (l *serverLog) Tracef(string, ...any)           {}
