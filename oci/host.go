// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"context"
	"os"

	"github.com/containers/buildah"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/process"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/registry"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/run"
)

// Init must be the first call of main, and of TestMain where a test uses this package: helpers are this very
// program, started under another name. It reports whether this process was a helper and has done its work;
// main then returns. Otherwise place is where Reexec has started the program; it is zero where it has not. A
// second call knows nothing of it.
func Init() (place host.Place, helper bool) {
	if len(os.Args) == 0 {
		return host.Place{}, false
	}
	switch os.Args[0] {
	case process.NameEnter:
		host.Enter()
		return host.Place{}, true
	case process.NameContainer:
		run.PID1()
		return host.Place{}, true
	case process.NameProbe:
		host.ProbeMain()
		return host.Place{}, true
	}
	// Helpers of go.podman.io/storage.
	if buildah.InitReexec() {
		return host.Place{}, true
	}
	if os.Args[0] == process.NameImage { // starts such helpers
		registry.Main()
		return host.Place{}, true
	}
	return host.Detect(), false
}

// What callers say of the host and of the programs in containers; the rooms below have more to say.
type (
	// Place is where a process runs, and by which isolation.
	Place = host.Place
	// Isolation is how containers are made on this host.
	Isolation = host.Isolation
	// HostError says what the host lacks, and how to get it.
	HostError = host.Error
	// ReexecConfig is what the program sees when it runs again.
	ReexecConfig = host.ReexecConfig
	// Report says how containers can be made on this host; a Candidate is one kind of isolation in it.
	Report = host.Report
	// Candidate is one kind of isolation.
	Candidate = host.Candidate
	// ExitError says that a program in a container did not succeed.
	ExitError = run.ExitError
	// ImagePull says which image of a registry to get.
	ImagePull = registry.ImagePull
)

// The kinds of isolation.
const (
	IsolationAuto   = host.IsolationAuto
	IsolationUserNS = host.IsolationUserNS
	IsolationSingle = host.IsolationSingle
	IsolationRoot   = host.IsolationRoot
	IsolationChroot = host.IsolationChroot
)

// ParseIsolation reads the name of an isolation.
func ParseIsolation(text string) (Isolation, error) { return host.ParseIsolation(text) }

// AppArmorProfile is a profile that lets a program make user namespaces; AppArmorPath is a path as such a
// profile writes it.
func AppArmorProfile(program string) string { return host.AppArmorProfile(program) }

// AppArmorPath is a path as a profile of AppArmor writes it.
func AppArmorPath(path string) string { return host.AppArmorPath(path) }

// Reexec runs this very program again where containers can be made, waits for it and returns its exit status;
// 128 and the number of the signal if one killed it. An error is a *HostError if the host does not allow
// this. See Place.
//
// SIGINT, SIGTERM and SIGHUP are passed on, once each; a second SIGINT kills. The end of ctx passes on
// SIGTERM. When this process dies, by whatever signal, the other and all that it has started die with it.
func Reexec(ctx context.Context, cfg ReexecConfig) (int, error) { return host.Reexec(ctx, cfg) }

// Probe tries every kind of isolation with a state directory, which need not exist. Nothing is left behind.
func Probe(ctx context.Context, stateDir string) (Report, error) { return host.Probe(ctx, stateDir) }

// Pull gets an image of a registry as an OCI image layout in a directory of its own below p.Dir. The caller
// calls remove when the image is not needed any more; what a killed process has left there is removed by the
// next call. No user namespace and no Engine are needed. Signatures are checked as containers-policy.json(5)
// says, if that file is there.
func Pull(ctx context.Context, p ImagePull) (dir string, remove func() error, err error) {
	return registry.Pull(ctx, p)
}
