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

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/dirfd"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/registry"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/run"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// EngineOptions configure an Engine.
type EngineOptions struct {
	// Place is the value that Init returned.
	Place host.Place
	// StateDir holds the store that all builds of a user share. It belongs to this package and is
	// created if missing.
	StateDir string
	// Driver is the storage driver, "overlay" or "vfs"; if empty, it is overlay where the file
	// system of StateDir and the kernel support it. Each driver has its own snapshots.
	Driver string
	// Resolver is the content of the host's resolv.conf, which programs in containers see; empty
	// for none.
	Resolver []byte
	// Now is the clock that dates the use of snapshots; nil means that every time is time.Time{}.
	Now func() time.Time
	// Log receives messages for developers; nil discards them.
	Log *slog.Logger
	// Damaged is called for each damaged part of the store that was removed; it may be nil.
	Damaged func(Damage)
}

// Engine creates containers and keeps snapshots of them. Several engines, in one or several
// processes, can share a StateDir. Methods may be called concurrently.
//
// It has three parts: the store, the registry client, which copies images, and the runner of
// programs.
type Engine struct {
	*Store
	*registry.Registry
	runner *run.Runner

	mu         sync.Mutex
	containers []*Container
}

// Store keeps snapshots, and the layers that snapshots and containers consist of. It is a part of
// Engine.
type Store struct {
	options EngineOptions
	name    string // identifies this store among those of a StateDir
	boot    string // identifies the boot of the machine
	session *session
	store   storage.Store
	layers  *layerStore
	cleaner *cleaner
	damaged damagedLayers
	removed removals
	// noOverlay is why the driver is not overlay.
	noOverlay error
}

// singleSuffix marks a store in which all files belong to one ID: any other store would lose their
// owners.
const singleSuffix = "-single"

// userNSSuffix marks a store that root uses in a user namespace: there overlay keeps its state in
// user.* attributes, and with the isolation "root" in trusted.* attributes, so that neither would
// see the files that the other removed.
const userNSSuffix = "-userns"

// hostConfigs are the variables that name configuration files of podman's store and containers. We
// ignore those files.
var hostConfigs = []string{"CONTAINERS_STORAGE_CONF", "CONTAINERS_CONF"}

// Open opens the store, creating it if there is none yet, and removes what killed builds left in
// it. This process must be inside, see Place.
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
	// The libraries log through logrus.
	logrus.SetOutput(&logWriter{options.Log})
	logrus.SetFormatter(&logrus.TextFormatter{DisableTimestamp: true, DisableColors: true})

	if options.StateDir, err = filepath.Abs(options.StateDir); err != nil {
		return nil, fmt.Errorf("open the container store: %w", err)
	}
	if err := os.MkdirAll(options.StateDir, 0o700); err != nil {
		return nil, &HostError{
			Cause: "the directory for the container store cannot be created", Err: err,
			Fix: "name a directory that you can write to with --state-dir",
		}
	}
	e := &Engine{Store: &Store{options: options, boot: bootID()}}
	var stale []*session
	e.session, stale, err = beginSession(options.StateDir, options.Log)
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
	if err := host.TryOwners(place.Isolation, e.session.dir); err != nil {
		return nil, err
	}
	driver := options.Driver
	if driver == "" {
		driver = host.DriverOverlay
		if err := host.TryOverlay(place.Isolation, e.session.dir); err != nil {
			options.Log.Info("overlay does not work here; layers are full copies", "error", err)
			driver, e.noOverlay = host.DriverVFS, err
		}
	}
	e.name = driver
	switch {
	case place.SingleID():
		e.name += singleSuffix
	case place.Isolation == host.IsolationUserNS && place.Caller == 0:
		e.name += userNSSuffix
	}
	if err := e.session.setStore(e.name); err != nil {
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
		if err := e.cleaner.clean(s); err != nil {
			return nil, fmt.Errorf("remove the leftovers of a killed build: %w", err)
		}
	}
	if err := e.cleaner.removeGarbage(); err != nil {
		// Garbage only takes space.
		options.Log.Info("could not remove unused layers and images", "error", err)
	}
	return e, nil
}

// open creates the registry client and the runner, which work with the store.
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

// CheckDestination checks, without an image, that a registry responds and accepts the caller's
// credentials, and that the caller's store can be opened. For a directory ("dir:…") it checks that
// Unpack can create one.
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

// PullLocal copies an image of the caller's own container store, as used by podman, to an OCI image layout in a new
// directory below p.Dir, as Pull does with an image of a registry. The store is only read. p.Source is
// "containers-storage:IMAGE" or "containers-storage:[DRIVER@GRAPHROOT]IMAGE"; environ is the caller's environment,
// which locates the store.
func (e *Engine) PullLocal(ctx context.Context, p ImagePull, environ []string) (dir string, remove func() error,
	err error) {
	if err := e.options.Place.NeedStore(); err != nil {
		return "", nil, err
	}
	return e.Registry.PullLocal(ctx, p, environ)
}

// Emulate makes all containers of the engine run foreign programs under interpreter, a program of
// this machine, from the next Run on. Class, Data and Machine of an ELF header identify the
// programs. The interpreter is a path on the host and must be statically linked. An empty path ends
// the emulation. Nothing is registered on the host. Where the host does not support this, Run
// returns a *HostError.
//
// Programs then run in a user namespace, even for root: they cannot create device nodes.
func (e *Engine) Emulate(header elf.FileHeader, interpreter string) {
	e.runner.Emulate(header, interpreter)
}

// movable reports whether a directory may be moved into a container's tree for a while: the root
// file system of another container of this engine, and directories of this session.
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

// CopiesSnapshots reports whether each snapshot is a copy of the whole root file system, for want of overlay.
func (s *Store) CopiesSnapshots() bool { return s.Driver() == host.DriverVFS }

// Driver returns the storage driver in use, "overlay" or "vfs".
func (s *Store) Driver() string { return s.store.GraphDriverName() }

// NoOverlay returns why the driver is not overlay, so that each layer is a full copy; nil if it is, or
// if EngineOptions named another one.
func (s *Store) NoOverlay() error { return s.noOverlay }

// TempDir returns an initially empty directory for the engine's caller. Close removes it, or the
// next Open if the process was killed.
func (s *Store) TempDir() string { return filepath.Join(s.session.dir, "tmp") }

// Close removes all containers that are still open and closes the store. Snapshots stay.
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

// close closes the store and removes the rest of this session.
func (s *Store) close() error {
	// A snapshot that fails leaves its layer behind.
	errs := []error{s.removed.wait(), s.cleaner.removeLeftovers(s.session.name)}
	if _, err := s.store.Shutdown(false); err != nil {
		errs = append(errs, fmt.Errorf("close the container store: %w", err))
	}
	s.store.Free()
	return errors.Join(append(errs, s.session.end())...)
}

// logWriter passes the output of the libraries to a logger.
type logWriter struct{ log *slog.Logger }

func (w *logWriter) Write(p []byte) (int, error) {
	w.log.Debug("containers/storage: " + string(bytes.TrimSpace(p)))
	return len(p), nil
}

// notExist replaces the store's error for a missing image.
func notExist(name string, err error) error {
	if errors.Is(err, storage.ErrImageUnknown) || errors.Is(err, storage.ErrLayerUnknown) {
		return fmt.Errorf("snapshot %q: %w", name, fs.ErrNotExist)
	}
	return fmt.Errorf("snapshot %q: %w", name, err)
}
