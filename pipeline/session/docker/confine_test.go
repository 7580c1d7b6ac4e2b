package docker

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/sessiontest"
)

// The effect of a field of the app's container on that of a session.
const (
	copied   = "copied"   // copied unchanged
	bounded  = "bounded"  // its restricting part, or the stricter one of both
	replaced = "replaced" // the session has its own
	never    = "never"    // it grants access, belongs to the app alone, or has no meaning for a session
)

// fieldsOfHost classifies the fields of a HostConfig, including those of its resources.
var fieldsOfHost = map[string]string{
	"Binds": never, "ContainerIDFile": never, "LogConfig": replaced, "NetworkMode": copied, "PortBindings": never, "RestartPolicy": replaced,
	"AutoRemove": never, "VolumeDriver": never, "VolumesFrom": never, "ConsoleSize": replaced, "Annotations": copied,
	"CapAdd": bounded, "CapDrop": copied, "CgroupnsMode": bounded, "DNS": copied, "DNSOptions": copied, "DNSSearch": copied, "ExtraHosts": copied,
	"GroupAdd": copied, "IpcMode": bounded, "Cgroup": never, "Links": never, "OomScoreAdj": bounded, "PidMode": never, "Privileged": never,
	"PublishAllPorts": never, "ReadonlyRootfs": copied, "SecurityOpt": bounded, "StorageOpt": copied, "Tmpfs": copied, "UTSMode": never,
	"UsernsMode": bounded, "ShmSize": copied, "Sysctls": copied, "Runtime": copied, "Umask": copied, "Isolation": copied,
	"Mounts": bounded, "MaskedPaths": bounded, "ReadonlyPaths": bounded, "Init": replaced,

	"CPUShares": copied, "Memory": bounded, "NanoCPUs": copied, "CgroupParent": copied, "BlkioWeight": copied, "BlkioWeightDevice": copied,
	"BlkioDeviceReadBps": copied, "BlkioDeviceWriteBps": copied, "BlkioDeviceReadIOps": copied, "BlkioDeviceWriteIOps": copied,
	"CPUPeriod": copied, "CPUQuota": copied, "CPURealtimePeriod": never, "CPURealtimeRuntime": never, "CpusetCpus": copied, "CpusetMems": copied,
	"Devices": never, "DeviceCgroupRules": never, "DeviceRequests": never, "MemoryReservation": never, "MemorySwap": bounded,
	"MemorySwappiness": copied, "OomKillDisable": never, "PidsLimit": bounded, "Ulimits": copied,
	"CPUCount": copied, "CPUPercent": copied, "IOMaximumIOps": copied, "IOMaximumBandwidth": copied,
}

// fieldsOfConfig classifies the fields of a Config.
var fieldsOfConfig = map[string]string{
	"Hostname": replaced, "Domainname": never, "User": copied, "AttachStdin": replaced, "AttachStdout": replaced, "AttachStderr": replaced,
	"ExposedPorts": never, "Tty": replaced, "OpenStdin": replaced, "StdinOnce": replaced, "Env": bounded, "Cmd": never, "Healthcheck": replaced,
	"ArgsEscaped": never, "Image": replaced, "Volumes": never, "WorkingDir": copied, "Entrypoint": replaced, "NetworkDisabled": copied,
	"OnBuild": never, "Labels": bounded, "StopSignal": never, "StopTimeout": never, "Shell": never,
}

// fill sets a value to one that is not its zero value.
func fill(t *testing.T, name string, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString("some")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, name, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		if v.Type().Elem().Kind() != reflect.Struct {
			fill(t, name, v.Index(0))
		}
	case reflect.Array:
		fill(t, name, v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key := reflect.New(v.Type().Key()).Elem()
		if key.Kind() == reflect.String {
			key.SetString("some")
		}
		v.SetMapIndex(key, reflect.New(v.Type().Elem()).Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() && v.Type().Field(i).Type.Kind() != reflect.Struct {
				fill(t, name, v.Field(i))
			}
		}
	default:
		t.Fatalf("%s: a field of kind %s: add it to this test", name, v.Kind())
	}
}

// TestEveryFieldIsClassified sets each existing field of an app's container separately, and checks
// the session's container. A field that a new version of the library adds fails until it is
// classified.
func TestEveryFieldIsClassified(t *testing.T) {
	fresh := func() *container.InspectResponse {
		return &container.InspectResponse{Config: new(container.Config), HostConfig: new(container.HostConfig)}
	}
	created := func(app *container.InspectResponse) (*container.Config, *container.HostConfig) {
		t.Helper()
		found, err := templateOf(app)
		if err != nil {
			t.Fatal(err)
		}
		o := new(Runtime).createOptions(found, session.Spec{Name: "s-1", Command: []string{"sh"}, Memory: 1 << 30, Pids: 100})
		return o.Config, o.HostConfig
	}
	plainConfig, plainHost := created(fresh())
	check := func(name, class string, app, got, plain reflect.Value) {
		t.Helper()
		same := reflect.DeepEqual(got.Interface(), app.Interface())
		untouched := reflect.DeepEqual(got.Interface(), plain.Interface())
		switch {
		case class == "":
			t.Errorf("%s is not classified: does it restrict a container, or open something?", name)
		case class == copied && (!same || untouched):
			t.Errorf("%s is not copied: %v", name, got)
		case (class == never || class == replaced) && (!untouched || same && !app.IsZero() && class == never):
			t.Errorf("%s is the app's: %v", name, got)
		}
	}
	classified := 0
	each := func(of reflect.Type, class map[string]string, in func(*container.InspectResponse) reflect.Value, out func(*container.Config, *container.HostConfig) reflect.Value) {
		for i := range of.NumField() {
			f := of.Field(i)
			if f.Anonymous {
				continue
			}
			classified++
			if class[f.Name] == bounded {
				continue // in separate tests
			}
			app := fresh()
			fill(t, f.Name, in(app).Field(i))
			config, host := created(app)
			if f.Name == "SecurityOpt" || f.Name == "Labels" {
				continue
			}
			check(f.Name, class[f.Name], in(app).Field(i), out(config, host).Field(i), out(plainConfig, plainHost).Field(i))
		}
	}
	each(reflect.TypeFor[container.HostConfig](), fieldsOfHost, func(a *container.InspectResponse) reflect.Value { return reflect.ValueOf(a.HostConfig).Elem() },
		func(_ *container.Config, h *container.HostConfig) reflect.Value { return reflect.ValueOf(h).Elem() })
	each(reflect.TypeFor[container.Resources](), fieldsOfHost, func(a *container.InspectResponse) reflect.Value {
		return reflect.ValueOf(&a.HostConfig.Resources).Elem()
	}, func(_ *container.Config, h *container.HostConfig) reflect.Value {
		return reflect.ValueOf(&h.Resources).Elem()
	})
	each(reflect.TypeFor[container.Config](), fieldsOfConfig, func(a *container.InspectResponse) reflect.Value { return reflect.ValueOf(a.Config).Elem() },
		func(c *container.Config, _ *container.HostConfig) reflect.Value { return reflect.ValueOf(c).Elem() })
	if want := len(fieldsOfHost) + len(fieldsOfConfig); classified != want {
		t.Errorf("%d fields were found, %d are classified", classified, want)
	}
}

// TestConfinementIsBounded: settings of which a session gets the restricting part.
func TestConfinementIsBounded(t *testing.T) {
	const profile = `{"defaultAction":"SCMP_ACT_ALLOW","note":"a=b:c"}`
	pids, few := int64(5000), int64(50)
	for _, test := range []struct {
		name  string
		app   container.HostConfig
		field func(*container.HostConfig) any
		want  any
	}{
		{"no security options", container.HostConfig{}, func(h *container.HostConfig) any { return h.SecurityOpt }, []string{"no-new-privileges"}},
		{"profiles", container.HostConfig{SecurityOpt: []string{"seccomp=" + profile, "apparmor=app-profile", "label=type:app_t", "label=level:s0:c1,c2"}},
			func(h *container.HostConfig) any { return h.SecurityOpt },
			[]string{"no-new-privileges", "seccomp=" + profile, "apparmor=app-profile", "label=type:app_t", "label=level:s0:c1,c2"}},
		{"profiles in the older form", container.HostConfig{SecurityOpt: []string{"seccomp:" + profile, "apparmor:app-profile", "label:type:app_t", "no-new-privileges:true"}},
			func(h *container.HostConfig) any { return h.SecurityOpt },
			[]string{"no-new-privileges", "seccomp:" + profile, "apparmor:app-profile", "label:type:app_t"}},
		{"unconfined", container.HostConfig{SecurityOpt: []string{"seccomp=unconfined", "apparmor=unconfined", "label=disable", "label:disable", "seccomp:unconfined",
			"no-new-privileges=false", "systempaths=unconfined", "writable-cgroups=true"}},
			func(h *container.HostConfig) any { return h.SecurityOpt }, []string{"no-new-privileges"}},
		{"privileged", container.HostConfig{Privileged: true, MaskedPaths: []string{}, ReadonlyPaths: []string{}, SecurityOpt: []string{"label=disable"}},
			func(h *container.HostConfig) any {
				return []any{h.Privileged, h.MaskedPaths, h.ReadonlyPaths, h.SecurityOpt, h.CapAdd}
			},
			[]any{false, []string(nil), []string(nil), []string{"no-new-privileges"}, []string(nil)}},
		{"paths", container.HostConfig{MaskedPaths: []string{"/proc/x"}, ReadonlyPaths: []string{"/a", "/proc/sys"}},
			func(h *container.HostConfig) any {
				return []bool{slices.Contains(h.MaskedPaths, "/proc/x"), slices.Contains(h.MaskedPaths, "/proc/kcore"), slices.Contains(h.ReadonlyPaths, "/a"),
					slices.Contains(h.ReadonlyPaths, "/proc/sysrq-trigger"), len(slices.Compact(slices.Clone(h.ReadonlyPaths))) == len(h.ReadonlyPaths)}
			}, []bool{true, true, true, true, true}},
		{"added capabilities", container.HostConfig{CapAdd: []string{"SYS_ADMIN", "CHOWN"}}, func(h *container.HostConfig) any { return h.CapAdd }, []string(nil)},
		{"all dropped, some added", container.HostConfig{CapDrop: []string{"all"}, CapAdd: []string{"CAP_CHOWN", "net_bind_service", "SYS_ADMIN", "ALL", "CAP_SYS_PTRACE"}},
			func(h *container.HostConfig) any { return [][]string{h.CapDrop, h.CapAdd} }, [][]string{{"all"}, {"CAP_CHOWN", "net_bind_service"}}},
		{"IPC of the host", container.HostConfig{IpcMode: "host"}, func(h *container.HostConfig) any { return h.IpcMode }, container.IPCModePrivate},
		{"IPC of others", container.HostConfig{IpcMode: "container:x"}, func(h *container.HostConfig) any { return h.IpcMode }, container.IPCModePrivate},
		{"no IPC", container.HostConfig{IpcMode: "none"}, func(h *container.HostConfig) any { return h.IpcMode }, container.IPCModeNone},
		{"control groups of the host", container.HostConfig{CgroupnsMode: "host"}, func(h *container.HostConfig) any { return h.CgroupnsMode }, container.CgroupnsModeEmpty},
		{"its own control groups", container.HostConfig{CgroupnsMode: "private"}, func(h *container.HostConfig) any { return h.CgroupnsMode }, container.CgroupnsModePrivate},
		{"users of the host", container.HostConfig{UsernsMode: "host"}, func(h *container.HostConfig) any { return h.UsernsMode }, container.UsernsMode("")},
		{"users as the engine has them", container.HostConfig{UsernsMode: "auto"}, func(h *container.HostConfig) any { return h.UsernsMode }, container.UsernsMode("auto")},
		{"killed late", container.HostConfig{OomScoreAdj: -500}, func(h *container.HostConfig) any { return h.OomScoreAdj }, 0},
		{"killed early", container.HostConfig{OomScoreAdj: 500}, func(h *container.HostConfig) any { return h.OomScoreAdj }, 500},
		{"mounts", container.HostConfig{Mounts: []mount.Mount{{Type: mount.TypeVolume, Target: "/v"}, {Type: mount.TypeTmpfs, Target: "/t"}, {Type: mount.TypeBind, Source: "/", Target: "/b"}}},
			func(h *container.HostConfig) any { return h.Mounts }, []mount.Mount{{Type: mount.TypeTmpfs, Target: "/t"}}},
		{"less memory", container.HostConfig{Resources: container.Resources{Memory: 64 << 20, MemorySwap: -1}}, func(h *container.HostConfig) any { return []int64{h.Memory, h.MemorySwap} }, []int64{64 << 20, 64 << 20}},
		{"more memory", container.HostConfig{Resources: container.Resources{Memory: 4 << 30}}, func(h *container.HostConfig) any { return []int64{h.Memory, h.MemorySwap} }, []int64{1 << 30, 1 << 30}},
		{"fewer processes", container.HostConfig{Resources: container.Resources{PidsLimit: &few}}, func(h *container.HostConfig) any { return *h.PidsLimit }, int64(50)},
		{"more processes", container.HostConfig{Resources: container.Resources{PidsLimit: &pids}}, func(h *container.HostConfig) any { return *h.PidsLimit }, int64(100)},
		{"any number of processes", container.HostConfig{Resources: container.Resources{PidsLimit: new(int64(-1))}}, func(h *container.HostConfig) any { return *h.PidsLimit }, int64(100)},
	} {
		t.Run(test.name, func(t *testing.T) {
			found, err := templateOf(&container.InspectResponse{Config: new(container.Config), HostConfig: &test.app})
			if err != nil {
				t.Fatal(err)
			}
			o := new(Runtime).createOptions(found, session.Spec{Name: "s-1", Command: []string{"sh"}, Memory: 1 << 30, Pids: 100})
			if got := test.field(o.HostConfig); !reflect.DeepEqual(got, test.want) {
				t.Errorf("%#v, want %#v", got, test.want)
			}
			// Unset fields are not sent: a daemon treats an empty list as one that is set.
			text, err := json.Marshal(o.HostConfig)
			if err != nil || strings.Contains(string(text), `"MaskedPaths":[]`) || strings.Contains(string(text), `"ReadonlyPaths":[]`) {
				t.Errorf("%v %s", err, text)
			}
		})
	}
	_, err := templateOf(&container.InspectResponse{Config: new(container.Config), HostConfig: &container.HostConfig{SecurityOpt: []string{"landlock=strict"}}})
	sessiontest.ExpectRefusal(t, err, `"landlock"`, "less confined")
}
