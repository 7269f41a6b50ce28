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

// Init must be the first call in main, and in TestMain of tests that use this package: helpers are
// this same program, started under another name. It reports whether this process was a helper and
// has finished; main then returns. Otherwise place says where Reexec started the program; it is
// zero if Reexec did not. Only the first call returns that place.
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

// Types of the packages below that callers need; those packages export more.
type (
	// Place describes where a process runs, and with which isolation.
	Place = host.Place
	// Isolation is a way to create containers on this host.
	Isolation = host.Isolation
	// HostError reports what the host lacks, and how to fix that.
	HostError = host.Error
	// ReexecConfig configures the program when it runs again.
	ReexecConfig = host.ReexecConfig
	// Report describes the kinds of isolation that work on this host.
	Report = host.Report
	// Candidate is one kind of isolation in a Report.
	Candidate = host.Candidate
	// ExitError reports that a program in a container did not succeed.
	ExitError = run.ExitError
	// ImagePull selects an image in a registry.
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

// ParseIsolation parses the name of an isolation.
func ParseIsolation(text string) (Isolation, error) { return host.ParseIsolation(text) }

// Isolations lists the texts that ParseIsolation reads.
func Isolations() []string { return host.Isolations() }

// AppArmorProfile returns a profile that allows a program to create user namespaces.
func AppArmorProfile(program string) string { return host.AppArmorProfile(program) }

// AppArmorPath returns a path as it is written in an AppArmor profile.
func AppArmorPath(path string) string { return host.AppArmorPath(path) }

// Reexec runs this program again where containers can be created, waits for it and returns its exit
// status, or 128 plus the signal number if a signal killed it. The error is a *HostError if the
// host does not allow this. See Place.
//
// SIGINT, SIGTERM and SIGHUP are forwarded, once each; a second SIGINT kills the program. When ctx
// is done, it gets SIGTERM. When this process dies, by whatever signal, the program and all
// processes that it started die with it.
func Reexec(ctx context.Context, cfg ReexecConfig) (int, error) { return host.Reexec(ctx, cfg) }

// Probe tries every kind of isolation with a state directory, which need not exist. It leaves
// nothing behind.
func Probe(ctx context.Context, stateDir string) (Report, error) { return host.Probe(ctx, stateDir) }

// ExistingDir returns a directory, or the nearest above it that exists: the one that decides whether a missing
// directory can be made.
func ExistingDir(dir string) string { return host.ExistingDir(dir) }

// Pull downloads an image from a registry as an OCI image layout in a new directory below p.Dir.
// The caller calls remove when the image is no longer needed; the next call of Pull removes what a
// killed process left. Neither a user namespace nor an Engine is needed. Signatures are checked
// according to containers-policy.json(5), if that file exists.
func Pull(ctx context.Context, p ImagePull) (dir string, remove func() error, err error) {
	return registry.Pull(ctx, p)
}
