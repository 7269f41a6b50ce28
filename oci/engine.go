// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	istorage "go.podman.io/image/v5/storage"
	"go.podman.io/storage"
	graphdriver "go.podman.io/storage/drivers"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/dirfd"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/registry"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/run"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// EngineOptions say where an Engine keeps its things.
type EngineOptions struct {
	// Place is what Init has returned.
	Place host.Place
	// StateDir holds the store, for all builds of a user. It belongs to this package and is made if missing.
	StateDir string
	// Driver is that of the store: "overlay" or "vfs"; empty takes overlay if the file system of StateDir and
	// the kernel allow it. Each has its own snapshots.
	Driver string
	// Resolver is the content of the host's resolv.conf, which programs in containers see; empty for none.
	Resolver []byte
	// Now is the clock by which the use of snapshots is noted; nil is time.Time{} for ever.
	Now func() time.Time
	// Log receives what developers want to know; nil drops it.
	Log *slog.Logger
	// Damaged is told of what was found damaged in the store, and is gone; nil for nobody.
	Damaged func(Damage)
}

// Engine makes containers and keeps snapshots of them. Several engines, in one or several processes, can share a
// StateDir. It may be used by several goroutines.
//
// It is made of three parts: the store, what copies images (Registry), and what runs programs.
type Engine struct {
	*Store
	*registry.Registry
	runner *run.Runner

	mu         sync.Mutex
	containers []*Container
}

// Store keeps snapshots, and the layers that they and containers are made of. It is a part of Engine.
type Store struct {
	options EngineOptions
	store   storage.Store
	driver  graphdriver.Driver
	session *session
	boot    string // identifies the boot of the machine
	// storeName tells the stores of a StateDir apart, and graph is where this one is.
	storeName, graph string

	mu      sync.Mutex
	damaged map[string]error // layers in which damage was found
}

// singleSuffix marks a store whose files all belong to one id: in another one they would have lost their owners.
const singleSuffix = "-single"

// userNSSuffix marks a store that root has in a user namespace: overlay keeps its notes in user.* attributes
// there, and in trusted.* ones with the isolation root, so that each would miss what the other has removed.
const userNSSuffix = "-userns"

// hostConfigs are the variables that name the configuration of podman's store and containers, which are not ours.
var hostConfigs = []string{"CONTAINERS_STORAGE_CONF", "CONTAINERS_CONF"}

// Open opens the store, and makes it if there is none yet. What killed builds have left in it is removed. This process
// must be inside, see Place.
func Open(ctx context.Context, options EngineOptions) (_ *Engine, err error) {
	if !options.Place.Inside() {
		return nil, errors.New("open the container store: not in a namespace of our own")
	}
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	if options.Now == nil {
		options.Now = func() time.Time { return time.Time{} }
	}
	for _, variable := range hostConfigs {
		if err := os.Setenv(variable, os.DevNull); err != nil {
			return nil, err
		}
	}
	// The libraries log by themselves.
	logrus.SetOutput(&logWriter{options.Log})
	logrus.SetFormatter(&logrus.TextFormatter{DisableTimestamp: true, DisableColors: true})

	if options.StateDir, err = filepath.Abs(options.StateDir); err != nil {
		return nil, fmt.Errorf("open the container store: %w", err)
	}
	if err := os.MkdirAll(options.StateDir, 0o700); err != nil {
		return nil, &HostError{
			Cause: "the directory for the container store cannot be made", Err: err,
			Fix: "name a directory that you can write to with --state-dir",
		}
	}
	e := &Engine{Store: &Store{options: options, boot: bootID()}}
	stale, err := e.begin()
	if err != nil {
		return nil, fmt.Errorf("open the container store %s: %w", options.StateDir, err)
	}
	defer func() {
		for _, s := range stale {
			err = errors.Join(err, s.unlock())
		}
		if err != nil {
			err = errors.Join(fmt.Errorf("open the container store %s: %w", options.StateDir, err), e.session.end())
		}
	}()
	place := options.Place
	if place.SingleID() {
		if err := host.TryOwners(e.session.dir); err != nil {
			return nil, err
		}
	}
	driver := options.Driver
	if driver == "" {
		driver = host.DriverOverlay
		if err := host.TryOverlay(place.Isolation, e.session.dir); err != nil {
			options.Log.Info("overlay does not work here, layers are full copies", "error", err)
			driver = host.DriverVFS
		}
	}
	e.storeName = driver
	switch {
	case place.SingleID():
		e.storeName += singleSuffix
	case place.Isolation == host.IsolationUserNS && place.Caller == 0:
		e.storeName += userNSSuffix
	}
	if err := e.session.setStore(e.storeName); err != nil {
		return nil, err
	}
	if err := e.openStore(driver, stale); err != nil {
		return nil, err
	}
	e.open()
	if err := e.runner.WriteTemplate(); err != nil {
		return nil, err
	}
	for _, s := range stale {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := e.clean(s); err != nil {
			return nil, fmt.Errorf("remove what a killed build has left: %w", err)
		}
	}
	if err := e.removeGarbage(); err != nil {
		// It takes space, and nothing else.
		options.Log.Info("what nobody needs is not removed", "error", err)
	}
	return e, nil
}

// open makes what works with the store: the runner of programs, and what copies images.
func (e *Engine) open() {
	place := e.options.Place
	e.Registry = &registry.Registry{
		Temp: e.TempDir(), Caller: place.Caller, Mounts: place.Isolation != host.IsolationChroot,
		Log: &logWriter{e.options.Log},
	}
	e.runner = &run.Runner{
		Place: place, Template: filepath.Join(e.session.dir, "etc", "run"), Resolver: e.options.Resolver,
		Covered: filepath.Join(e.session.dir, "covered"), Keep: e.options.StateDir, Movable: e.movable,
	}
}

// CheckDestination finds out, without an image, whether a registry answers and takes the caller's
// credentials, and whether the caller's store can be opened. Of a directory ("dir:…") it finds out whether
// Unpack can make one.
func (e *Engine) CheckDestination(ctx context.Context, c types.ImageCopy) error {
	switch transport, _, _ := strings.Cut(c.Destination, ":"); transport {
	case "dir":
		return e.options.Place.NeedUsers(c.Destination)
	case istorage.Transport.Name():
		if err := e.options.Place.NeedStore(); err != nil {
			return err
		}
	}
	return e.Registry.CheckDestination(ctx, c)
}

// Emulate has all containers of the engine run foreign programs, told by Class, Data and Machine of their ELF header,
// under interpreter, a program of this machine, from the next Run on. It is named by its path on the host and must be
// statically linked. An empty name ends the emulation. Nothing is registered on the host. Where the host does not allow
// this, Run gives a *HostError.
//
// Programs then run in a user namespace, root's too: nobody can make device nodes.
func (e *Engine) Emulate(header elf.FileHeader, interpreter string) {
	e.runner.Emulate(header, interpreter)
}

// movable reports whether a directory can be where a container wants it for a while: the root file system of another
// container of this engine, and what this session has for itself.
func (e *Engine) movable(dir string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.containers {
		if dirfd.Within(dir, c.root) {
			return true
		}
	}
	return dirfd.Within(dir, e.TempDir())
}

// Driver is the storage driver in use, "overlay" or "vfs".
func (s *Store) Driver() string { return s.store.GraphDriverName() }

// TempDir is an empty directory for the engine's caller, removed by Close; if the process is killed, by the next Open.
func (s *Store) TempDir() string { return filepath.Join(s.session.dir, "tmp") }

// Close removes all containers that are still open and lets go of the store. Snapshots stay.
func (e *Engine) Close() error {
	e.mu.Lock()
	open := slices.Clone(e.containers)
	e.mu.Unlock()
	var errs []error
	for _, c := range open {
		errs = append(errs, c.Close())
	}
	return errors.Join(append(errs, e.close())...)
}

// close lets go of the store, and removes what is left of this session.
func (s *Store) close() error {
	// A snapshot that went wrong leaves its layer behind.
	errs := []error{s.removeLeftovers(s.session.name)}
	if _, err := s.store.Shutdown(false); err != nil {
		errs = append(errs, fmt.Errorf("close the container store: %w", err))
	}
	s.store.Free()
	return errors.Join(append(errs, s.session.end())...)
}

// logWriter hands on what the libraries print.
type logWriter struct{ log *slog.Logger }

func (w *logWriter) Write(p []byte) (int, error) {
	w.log.Debug("containers/storage: " + string(bytes.TrimSpace(p)))
	return len(p), nil
}

// notExist replaces the store's words for a missing image.
func notExist(name string, err error) error {
	if errors.Is(err, storage.ErrImageUnknown) || errors.Is(err, storage.ErrLayerUnknown) {
		return fmt.Errorf("snapshot %q: %w", name, fs.ErrNotExist)
	}
	return fmt.Errorf("snapshot %q: %w", name, err)
}
