package reload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/ttydrain/ttydrain/pipeline/config"
)

// TestEverySettingIsClassified: each field of the configuration is either live or needs a restart,
// by itself or with its section, and nothing else is in the table.
func TestEverySettingIsClassified(t *testing.T) {
	classified := make(map[string]effect)
	for _, s := range settings {
		if classified[s.path] != 0 {
			t.Errorf("%s is in the table twice", s.path)
		}
		if s.effect != live && s.effect != restart {
			t.Errorf("%s is neither live nor needs a restart", s.path)
		}
		classified[s.path] = s.effect
	}
	found := make(map[string]bool)
	var walk func(prefix string, kind reflect.Type)
	walk = func(prefix string, kind reflect.Type) {
		for i := range kind.NumField() {
			f := kind.Field(i)
			name := yamlName(f)
			if name == "" {
				if strings.HasSuffix(f.Tag.Get("yaml"), ",inline") {
					t.Errorf("%s%s: an inlined struct outside of a classified section, which valueAt does not find", prefix, f.Name)
				}
				continue // not read from the file
			}
			path := prefix + name
			switch {
			case classified[path] != 0:
				found[path] = true
			case f.Type.Kind() == reflect.Struct:
				walk(path+".", f.Type)
			default:
				t.Errorf("%s is not classified: add it to settings, live or restart", path)
			}
		}
	}
	walk("", reflect.TypeFor[config.Config]())
	for path := range classified {
		if !found[path] {
			t.Errorf("%s is classified, and no field of the configuration", path)
		}
	}
	if len(found) < 30 {
		t.Errorf("found %d settings: the test looks in the wrong place", len(found))
	}
}

// TestNeedRestart changes each setting alone.
func TestNeedRestart(t *testing.T) {
	for _, s := range settings {
		before, after := new(config.Config), new(config.Config)
		if changed := NeedRestart(before, after); len(changed) > 0 {
			t.Fatalf("equal configurations differ in %q", changed)
		}
		v := reflect.ValueOf(after).Elem()
		for name := range strings.SplitSeq(s.path, ".") {
			field, ok := fieldNamed(v.Type(), name)
			if !ok {
				t.Fatalf("no field %s", s.path)
			}
			v = v.FieldByIndex(field.Index)
		}
		change(t, s.path, v)
		want := []string{s.path}
		if s.effect == live {
			want = nil
		}
		if changed := NeedRestart(before, after); !slices.Equal(changed, want) {
			t.Errorf("%s: a restart is needed for %q, want %q", s.path, changed, want)
		}
	}
	docker := &config.Config{Apps: []config.App{{Runtime: config.RuntimeDocker}}}
	for _, test := range []struct {
		name          string
		before, after *config.Config
		want          []string
	}{
		{"the first app with docker", new(config.Config), docker, []string{firstDockerApp}},
		{"another one", docker, &config.Config{Apps: slices.Concat(docker.Apps, docker.Apps)}, nil},
		{"none any more", docker, new(config.Config), nil},
	} {
		if changed := NeedRestart(test.before, test.after); !slices.Equal(changed, test.want) {
			t.Errorf("%s: %q, want %q", test.name, changed, test.want)
		}
	}
}

// change sets a value to another one.
func change(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() && yamlName(v.Type().Field(i)) != "" {
				change(t, path, v.Field(i))
				return
			}
		}
		if v.Type() == reflect.TypeFor[config.Secret]() {
			v.Set(reflect.ValueOf(config.NewSecret("x")))
			return
		}
		t.Fatalf("%s: nothing to change in a %s", path, v.Type())
	default:
		t.Fatalf("%s: a %s", path, v.Type())
	}
}

// A process runs a loop on a file.
type process struct {
	t       *testing.T
	path    string
	signals chan os.Signal
	log     bytes.Buffer // of the loop, and of it alone while it runs
	applied []string     // the banners of the configurations that were applied
	refuse  error        // of Apply
	loaded  int
	loop    *Loop
}

// banner is a configuration with a live setting and one that needs a restart.
func banner(banner, issuer string) string {
	return fmt.Sprintf(`user_document: {issuer: %s}
gateway: {banner: %s}
stacks: [{name: default}]
apps: [{name: web, stack: default}]
users: [{id: a, name: a, email: a@example.com, authorized_keys: [ada.pub], apps: [web]}]
`, issuer, banner)
}

func (p *process) write(name, text string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(filepath.Dir(p.path), name), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func start(t *testing.T) *process {
	t.Helper()
	p := &process{t: t, path: filepath.Join(t.TempDir(), "ttydrain.yaml"), signals: make(chan os.Signal, 1)}
	p.write("ada.pub", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPjn56TckWctu6j3HKtm23bH3dEaV0EhPYs3gr7w4VKq ada@example.com\n")
	p.write("ttydrain.yaml", banner("always", "x"))
	c, files, err := config.LoadFiles(p.path, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.loop = New(Options{
		Path: p.path, Current: c, Files: files, Signal: p.signals, Registry: prometheus.NewRegistry(), Log: slog.New(slog.NewTextHandler(&p.log, nil)),
		Apply: func(c *config.Config) error {
			if p.refuse == nil {
				p.applied = append(p.applied, c.Gateway.Banner)
			}
			return p.refuse
		},
		Loaded: func() { p.loaded++ },
	})
	return p
}

// valueOf returns the value of a counter or gauge.
func valueOf(t *testing.T, m prometheus.Metric) float64 {
	t.Helper()
	var d dto.Metric
	if err := m.Write(&d); err != nil {
		t.Fatal(err)
	}
	return d.GetCounter().GetValue() + d.GetGauge().GetValue()
}

// TestLoop: changes are applied when they have settled, or at once on a signal; what is refused
// changes nothing, and is logged with its reason.
func TestLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { // ends with ctx
			defer close(done)
			p.loop.Run(ctx)
		}()
		defer func() { stop(); <-done }()
		settle := func() { time.Sleep(4 * interval); synctest.Wait() }
		hangup := func() { p.signals <- syscall.SIGHUP; synctest.Wait() }
		results := func(ok, refused float64) {
			t.Helper()
			l := p.loop
			if a, b := valueOf(t, l.results.WithLabelValues("ok")), valueOf(t, l.results.WithLabelValues("refused")); a != ok || b != refused || p.loaded != int(ok+refused) {
				t.Errorf("%v reloads were applied and %v refused of %d, want %v and %v\n%s", a, b, p.loaded, ok, refused, &p.log)
			}
		}
		settle()
		results(0, 0)
		p.write("ttydrain.yaml", banner("interactive", "x")+"# longer, so that it differs within one tick of the clock\n")
		settle()
		results(1, 0)
		hangup() // without a change, too
		results(2, 0)
		if want := []string{"interactive", "interactive"}; !slices.Equal(p.applied, want) {
			t.Errorf("applied %q, want %q", p.applied, want)
		}
		for i, bad := range []struct {
			text   string
			refuse error
			logged string
		}{
			{banner("sometimes", "x"), nil, `level=ERROR msg="mistake in the configuration"`},
			{banner("none", "another"), nil, "field=user_document"},
			{banner("none", "x"), errors.New("the limits are no good"), `error="the limits are no good"`},
		} {
			p.write("ttydrain.yaml", bad.text)
			p.refuse = bad.refuse
			hangup()
			results(2, float64(i+1))
			if valueOf(t, p.loop.successful) != 0 || !strings.Contains(p.log.String(), bad.logged) || !strings.Contains(p.log.String(), "configuration refused") {
				t.Errorf("after a refusal: %v\n%s", valueOf(t, p.loop.successful), &p.log)
			}
			p.log.Reset()
		}
		p.refuse = nil
		hangup()
		results(3, 3)
		if want := []string{"interactive", "interactive", "none"}; !slices.Equal(p.applied, want) || valueOf(t, p.loop.successful) != 1 {
			t.Errorf("applied %q, want %q", p.applied, want)
		}
	})
}
