package docker

import (
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

// A template is what sessions' containers have of the app's.
type template struct {
	image  string // a name, or an ID of the very image
	env    []string
	user   string
	dir    string
	labels map[string]string
	host   container.HostConfig // with the app's limits
	// noNetwork says that the app was made without a network.
	noNetwork bool
	// first is the network that the container is made with, nil where the mode says it all; further
	// are connected later: before API 1.44 a container can be made with one only.
	first   *networkEnd
	further []networkEnd
}

type networkEnd struct {
	name     string
	endpoint *network.EndpointSettings
}

// templateOf takes from the app's container the settings that a session's has as well: those that
// name something and those that restrict, and none that open something, such as volumes, ports,
// devices, capabilities or privileges.
func templateOf(app *container.InspectResponse) (*template, error) {
	if app.Config == nil || app.HostConfig == nil {
		return nil, errors.New("the Docker daemon says nothing of the app's configuration")
	}
	h := app.HostConfig
	confined, err := confinementOf(h)
	if err != nil {
		return nil, err
	}
	t := &template{
		image: app.Image, env: app.Config.Env, user: app.Config.User, dir: app.Config.WorkingDir, labels: app.Config.Labels,
		host: confined, noNetwork: app.Config.NetworkDisabled,
	}
	t.host.NetworkMode, t.host.ExtraHosts = h.NetworkMode, h.ExtraHosts
	t.host.DNS, t.host.DNSOptions, t.host.DNSSearch = h.DNS, h.DNSOptions, h.DNSSearch
	if !h.NetworkMode.IsUserDefined() || app.NetworkSettings == nil {
		return t, nil // host, none, another container's, or the default one
	}
	for _, name := range slices.Sorted(maps.Keys(app.NetworkSettings.Networks)) {
		// Neither the app's address nor its names: they are the app's.
		end := networkEnd{name, &network.EndpointSettings{}}
		if e := app.NetworkSettings.Networks[name]; e != nil {
			end.endpoint.DriverOpts, end.endpoint.GwPriority = e.DriverOpts, e.GwPriority
		}
		if name == h.NetworkMode.NetworkName() {
			t.first = &end
		} else {
			t.further = append(t.further, end)
		}
	}
	if t.first == nil && len(t.further) > 0 { // the mode has the network's ID, or the app has left that network
		t.first, t.further = &t.further[0], t.further[1:]
		t.host.NetworkMode = container.NetworkMode(t.first.name)
	}
	return t, nil
}

// labelOneOff is how Docker Compose tells the containers of a service ("False") from those of
// "docker-compose run" ("True"). A session that had the app's would be taken for one of the
// service's containers, and be ended when there is one too many.
const labelOneOff = "com.docker.compose.oneoff"

// createOptions are those of a session's container.
func (r *Runtime) createOptions(t *template, spec session.Spec) client.ContainerCreateOptions {
	command := spec.Command
	if spec.CommandLine != "" {
		command = []string{spec.Command[0], "-c", spec.CommandLine}
	}
	labels := maps.Clone(t.labels)
	maps.DeleteFunc(labels, func(name, _ string) bool { return strings.HasPrefix(name, labelPrefix) })
	if labels == nil {
		labels = make(map[string]string)
	}
	if _, ok := labels[labelOneOff]; ok {
		labels[labelOneOff] = "True"
	}
	labels[labelGateway], labels[labelRun], labels[labelOperation], labels[labelApp] = r.gateway, r.run, spec.Operation, spec.App
	config := &container.Config{
		Hostname: spec.Name, Image: t.image, User: t.user, WorkingDir: t.dir, Labels: labels,
		Entrypoint: command, // all of it, so that neither the image's entry point nor its command is a part
		Env:        t.env,
		OpenStdin:  true, StdinOnce: true, AttachStdin: true, AttachStdout: true, AttachStderr: true,
		Healthcheck:     &container.HealthConfig{Test: []string{"NONE"}},
		NetworkDisabled: t.noNetwork,
	}
	if spec.Container.User != "" {
		config.User = spec.Container.User
	}
	host := t.host
	host.Init = new(true)
	if host.SecurityOpt == nil { // of an image alone
		host.SecurityOpt = []string{"no-new-privileges"}
	}
	host.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyDisabled}
	host.LogConfig = container.LogConfig{Type: "none"}
	host.Memory = lower(host.Memory, spec.Memory)
	host.MemorySwap = host.Memory // both together
	var pids int64
	if host.PidsLimit != nil {
		pids = *host.PidsLimit
	}
	host.PidsLimit = nil
	if pids = lower(pids, spec.Pids); pids > 0 {
		host.PidsLimit = &pids
	}
	if spec.Terminal != nil {
		config.Tty = true
		name := spec.Terminal.Name
		if name == "" {
			name = "dumb"
		}
		config.Env = append(slices.Clone(config.Env), "TERM="+name)
		host.ConsoleSize = [2]uint{cells(spec.Terminal.Size.Height), cells(spec.Terminal.Size.Width)}
	}
	config.Env = mergeEnv(config.Env, spec.Env)
	options := client.ContainerCreateOptions{
		Config: config, HostConfig: &host,
		Name: "ttydrain-" + spec.Name + "-" + strings.ToLower(rand.Text()[:8]), // where gateways that know nothing of each other share a daemon
	}
	if host.NetworkMode.IsContainer() {
		config.Hostname = "" // the other container's
	}
	if t.first != nil {
		options.NetworkingConfig = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{t.first.name: t.first.endpoint}}
	}
	return options
}

// mergeEnv joins lists of KEY=VALUE: the last of a key wins, at the place of the first.
func mergeEnv(lists ...[]string) []string {
	var merged []string
	at := make(map[string]int)
	for _, list := range lists {
		for _, entry := range list {
			key, _, ok := strings.Cut(entry, "=")
			if !ok {
				continue // to the daemon it would be an order to remove what the image sets
			}
			if i, there := at[key]; there {
				merged[i] = entry
				continue
			}
			at[key] = len(merged)
			merged = append(merged, entry)
		}
	}
	return merged
}

// cells is a width or a height as the API has it.
func cells(n int) uint { return uint(max(0, n)) }
