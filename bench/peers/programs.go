package peers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/process"
)

// lookPath finds a program in PATH or in /usr/sbin.
func lookPath(name, remedy string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	path := "/usr/sbin/" + name
	if _, err := os.Stat(path); err != nil {
		return "", measure.Missing("this machine has no %s (%s)", name, remedy)
	}
	return path, nil
}

// rsyslog is rsyslogd with some modules.
type rsyslog struct {
	modules []string // file names
	path    string
}

// rsyslogPackages has the Debian packages of the modules.
var rsyslogPackages = map[string]string{"imfile.so": "rsyslog", "lmnsd_ossl.so": "rsyslog-openssl", "omelasticsearch.so": "rsyslog-elasticsearch", "omhttp.so": "rsyslog-omhttp, which Debian 12 does not have"}

func (r *rsyslog) find() (err error) {
	if r.path, err = lookPath("rsyslogd", "apt-get install rsyslog"); err != nil {
		return err
	}
	for _, module := range r.modules {
		found, _ := filepath.Glob("/usr/lib*/rsyslog/" + module)
		if more, _ := filepath.Glob("/usr/lib*/*/rsyslog/" + module); len(found)+len(more) == 0 {
			return measure.Missing("rsyslog has no %s (package %s)", module, rsyslogPackages[module])
		}
	}
	return nil
}

func (r *rsyslog) start(ctx context.Context, dir, config string) (*process.Server, error) {
	return process.StartServer(ctx, filepath.Join(dir, "log"), r.path, "-n", "-iNONE", "-f", config)
}

// syslogNG is syslog-ng with some modules, installed or unpacked into the folder SYSLOG_NG_ROOT.
type syslogNG struct {
	modules []string

	path, modulePath string
	environment      []string
	version          string // of the configuration format
}

func (n *syslogNG) find() (err error) {
	const remedy = "apt-get install syslog-ng-core syslog-ng-mod-http, or unpack both and set SYSLOG_NG_ROOT to the folder"
	modules := "/usr/lib/syslog-ng/*"
	if root := os.Getenv("SYSLOG_NG_ROOT"); root != "" {
		n.path = filepath.Join(root, "usr/sbin/syslog-ng")
		if _, err := os.Stat(n.path); err != nil {
			return measure.Missing("SYSLOG_NG_ROOT names a folder without syslog-ng (%s)", remedy)
		}
		var folders []string
		for _, pattern := range []string{"usr/lib/syslog-ng", "usr/lib/*-linux-gnu*", "lib/*-linux-gnu*"} {
			match, _ := filepath.Glob(filepath.Join(root, pattern))
			folders = append(folders, match...)
		}
		n.environment = append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(folders, ":"))
		modules = filepath.Join(root, modules)
	} else if n.path, err = lookPath("syslog-ng", remedy); err != nil {
		return err
	}
	for _, module := range n.modules {
		found, _ := filepath.Glob(filepath.Join(modules, module))
		if len(found) == 0 {
			return measure.Missing("syslog-ng has no %s (%s)", module, remedy)
		}
		if n.environment != nil { // unpacked
			n.modulePath = filepath.Dir(found[0])
		}
	}
	command := exec.Command(n.path, "--version")
	command.Env = n.environment
	said, err := command.Output()
	for line := range strings.Lines(string(said)) {
		if v, ok := strings.CutPrefix(line, "Config version:"); ok {
			n.version = strings.TrimSpace(v)
			return nil
		}
	}
	return fmt.Errorf("read the version of syslog-ng: %q, %w", said, err)
}

func (n *syslogNG) start(ctx context.Context, dir, config string) (*process.Server, error) {
	arguments := []string{"-F", "--no-caps", "-f", config, "-R", filepath.Join(dir, "persist"), "-p", filepath.Join(dir, "pid"), "-c", filepath.Join(dir, "control")}
	if n.modulePath != "" {
		arguments = append(arguments, "--module-path="+n.modulePath)
	}
	return process.StartServerWith(ctx, n.environment, filepath.Join(dir, "log"), n.path, arguments...)
}

// telegraf is Telegraf.
type telegraf struct{ path string }

func (t *telegraf) find() (err error) {
	t.path, err = lookPath("telegraf", "go install github.com/influxdata/telegraf/cmd/telegraf@latest, and put it into PATH")
	return err
}

func (t *telegraf) start(ctx context.Context, dir, config string) (*process.Server, error) {
	return process.StartServer(ctx, filepath.Join(dir, "log"), t.path, "--config", config)
}

// fluentBit is Fluent Bit.
type fluentBit struct{ path string }

func (f *fluentBit) find() (err error) {
	f.path, err = lookPath("fluent-bit", "Debian has no package of it: build it from its source, see bench/README.md, and put it into PATH")
	return err
}

func (f *fluentBit) start(ctx context.Context, dir, config string) (*process.Server, error) {
	return process.StartServer(ctx, filepath.Join(dir, "log"), f.path, "--config", config)
}

// An absent program is not measured, because it lacks a feature or could not be tried out.
type absent struct{ why string }

func (a absent) find() error { return measure.Missing("%s", a.why) }

func (a absent) start(context.Context, string, string) (*process.Server, error) { return nil, a.find() }
