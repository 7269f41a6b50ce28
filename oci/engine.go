package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"go.podman.io/storage"
	graphdriver "go.podman.io/storage/drivers"
	"golang.org/x/sys/unix"
)

// EngineOptions say where an Engine keeps its things.
type EngineOptions struct {
	// StateDir holds the store, for all builds of a user. It belongs to this package and is made if missing.
	StateDir string
	// Driver is that of the store: "overlay" or "vfs"; empty takes overlay if the file system of StateDir and the kernel
	// allow it. Each has its own snapshots.
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
type Engine struct {
	options EngineOptions
	store   storage.Store
	driver  graphdriver.Driver
	session *session
	boot    string // identifies the boot of the machine
	// storeName tells the stores of a StateDir apart, and graph is where this one is.
	storeName, graph string

	mu         sync.Mutex
	containers []*Container
	damaged    map[string]error // layers in which damage was found
	emulator   *emulator        // nil for none
}

// Names of storage drivers.
const (
	driverOverlay = "overlay"
	driverVFS     = "vfs"
)

// singleSuffix marks a store whose files all belong to one id: in another one they would have lost their owners.
const singleSuffix = "-single"

// userNSSuffix marks a store that root has in a user namespace: overlay keeps its notes in user.* attributes there, and in
// trusted.* ones with the isolation root, so that each would miss what the other has removed.
const userNSSuffix = "-userns"

// hostConfigs are the variables that name the configuration of podman's store and containers, which are not ours.
var hostConfigs = []string{"CONTAINERS_STORAGE_CONF", "CONTAINERS_CONF"}

// Open opens the store, and makes it if there is none yet. What killed builds have left in it is removed. Inside must be
// true.
func Open(ctx context.Context, options EngineOptions) (_ *Engine, err error) {
	if !Inside() {
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
		return nil, fmt.Errorf("open the container store: %w", err)
	}
	e := &Engine{options: options, boot: bootID()}
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
	if isolation == IsolationSingle {
		if err := tryNotes(e.session.dir); err != nil {
			return nil, err
		}
	}
	driver := options.Driver
	if driver == "" {
		driver = driverOverlay
		if err := tryOverlay(isolation, e.session.dir); err != nil {
			options.Log.Info("overlay does not work here, layers are full copies", "error", err)
			driver = driverVFS
		}
	}
	e.storeName = driver
	switch {
	case isolation == IsolationSingle:
		e.storeName += singleSuffix
	case isolation == IsolationUserNS && caller == 0:
		e.storeName += userNSSuffix
	}
	if err := e.session.setStore(e.storeName); err != nil {
		return nil, err
	}
	if err := e.openStore(driver, stale); err != nil {
		return nil, err
	}
	if err := e.writeRunTemplate(); err != nil {
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

// Driver is the storage driver in use, "overlay" or "vfs".
func (e *Engine) Driver() string { return e.store.GraphDriverName() }

// TempDir is an empty directory for the engine's caller, removed by Close; if the process is killed, by the next Open.
func (e *Engine) TempDir() string { return filepath.Join(e.session.dir, "tmp") }

// Close removes all containers that are still open and lets go of the store. Snapshots stay.
func (e *Engine) Close() error {
	e.mu.Lock()
	open := slices.Clone(e.containers)
	e.mu.Unlock()
	var errs []error
	for _, c := range open {
		errs = append(errs, c.Close())
	}
	// A snapshot that went wrong leaves its layer behind.
	errs = append(errs, e.removeLeftovers(e.session.name))
	if _, err := e.store.Shutdown(false); err != nil {
		errs = append(errs, fmt.Errorf("close the container store: %w", err))
	}
	e.store.Free()
	return errors.Join(append(errs, e.session.end())...)
}

// tryOverlay finds out whether overlay works in a directory, by mounting one and writing to it. Without a mount namespace it
// is not tried: a root who may mount would leave mounts behind.
func tryOverlay(by Isolation, dir string) (err error) {
	if by == IsolationChroot {
		return errors.New("the isolation chroot makes no mounts")
	}
	dir, err = os.MkdirTemp(dir, "overlay-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(at(name), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(at("lower/file"), []byte("lower"), 0o644); err != nil {
		return err
	}
	data := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", at("lower"), at("upper"), at("work"))
	if inUserNamespace() {
		// trusted.* attributes, in which overlay keeps its notes otherwise, are for the host's root.
		data += ",userxattr"
	}
	if err := unix.Mount("overlay", at("merged"), "overlay", 0, data); err != nil {
		return fmt.Errorf("mount an overlay: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Unmount(at("merged"), unix.MNT_DETACH)) }()
	if err := os.Chmod(at("merged/file"), 0o600); err != nil {
		return fmt.Errorf("copy a file up: %w", err)
	}
	return os.Remove(at("merged/file"))
}

// inUserNamespace reports whether not all ids of the host exist here.
func inUserNamespace() bool {
	var start, host, count uint64
	data, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	_, err = fmt.Sscan(string(data), &start, &host, &count)
	return err != nil || count != 1<<32-1
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
