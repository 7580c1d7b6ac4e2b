package docker

import (
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

func TestMergeEnv(t *testing.T) {
	got := mergeEnv([]string{"A=1", "B=2", "UNSET", "A=3"}, nil, []string{"B=", "C=x=y", "B=4"})
	if want := []string{"A=3", "B=4", "C=x=y"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
}

// TestNetworkModes: the networks of a session's container for those of the app.
func TestNetworkModes(t *testing.T) {
	for _, test := range []struct {
		mode     container.NetworkMode
		networks []string
		wantMode container.NetworkMode
		first    string
		further  []string
		hostname bool
	}{
		{"default", []string{"bridge"}, "default", "", nil, true},
		{"bridge", []string{"bridge"}, "bridge", "", nil, true},
		{"host", []string{"host"}, "host", "", nil, true},
		{"none", []string{"none"}, "none", "", nil, true},
		{"container:abc", nil, "container:abc", "", nil, false},
		{"shop_default", []string{"shop_default"}, "shop_default", "shop_default", nil, true},
		{"shop_default", []string{"a", "shop_default", "z"}, "shop_default", "shop_default", []string{"a", "z"}, true},
		{"0123456789ab", []string{"shop_default", "z"}, "shop_default", "shop_default", []string{"z"}, true},
	} {
		app := &container.InspectResponse{
			Config: &container.Config{}, HostConfig: &container.HostConfig{NetworkMode: test.mode},
			NetworkSettings: &container.NetworkSettings{Networks: make(map[string]*network.EndpointSettings)},
		}
		for _, name := range test.networks {
			app.NetworkSettings.Networks[name] = &network.EndpointSettings{Aliases: []string{"web"}}
		}
		found, err := templateOf(app)
		if err != nil {
			t.Fatal(err)
		}
		first, further := "", []string(nil)
		if found.first != nil {
			first = found.first.name
		}
		for _, n := range found.further {
			further = append(further, n.name)
		}
		o := new(Runtime).createOptions(found, session.Spec{Name: "s-1", Command: []string{"sh"}})
		if o.HostConfig.NetworkMode != test.wantMode || first != test.first || !reflect.DeepEqual(further, test.further) || (o.Config.Hostname != "") != test.hostname {
			t.Errorf("%s with %v: %s, %s and %v, host name %q", test.mode, test.networks, o.HostConfig.NetworkMode, first, further, o.Config.Hostname)
		}
	}
	if _, err := templateOf(&container.InspectResponse{}); err == nil {
		t.Error("a container without a configuration was accepted")
	}
}

// TestComposeLabel: Docker Compose does not treat a session as a container of the app's service.
func TestComposeLabel(t *testing.T) {
	for _, test := range []struct{ app, session map[string]string }{
		{map[string]string{"com.docker.compose.oneoff": "False", "com.docker.compose.service": "web"}, map[string]string{"com.docker.compose.oneoff": "True", "com.docker.compose.service": "web"}},
		{map[string]string{"team": "web"}, map[string]string{"team": "web"}},
		{nil, map[string]string{}},
	} {
		got := new(Runtime).createOptions(&template{labels: test.app}, session.Spec{Name: "s-1", Command: []string{"sh"}}).Config.Labels
		maps.DeleteFunc(got, func(name, _ string) bool { return strings.HasPrefix(name, labelPrefix) })
		if !maps.Equal(got, test.session) {
			t.Errorf("of %v: %v", test.app, got)
		}
	}
}
