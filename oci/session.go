package oci

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containers/storage"
	"golang.org/x/sys/unix"
)

// A session is one opened Engine, as a directory below StateDir. Its lock is held as long as the process lives: a session
// that somebody else can lock is over, and what it has left may be removed.
//
//	sessions/NAME/lock   locked by flock(2)
//	sessions/NAME/run    what the store wants to know while it is mounted
//	sessions/NAME/tmp    for the engine's caller
//	sessions/NAME/etc    the /run that containers begin with
//	sessions.lock        locked while sessions are begun and looked for
type session struct {
	name string
	dir  string
	lock *os.File
}

// workPrefix begins the names of layers that are being written, followed by the name of the session and a slash.
const workPrefix = "vmdebootstrap-work/"

// begin makes the session of this engine and gives those that are over, locked.
func (e *Engine) begin() (stale []*session, err error) {
	dir := filepath.Join(e.options.StateDir, "sessions")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	all, err := lockFile(dir+".lock", unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, all.Close()) }()
	old, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, d := range old {
		s := &session{name: d.Name(), dir: filepath.Join(dir, d.Name())}
		s.lock, err = lockFile(filepath.Join(s.dir, "lock"), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			continue
		}
		if err != nil {
			return nil, err
		}
		stale = append(stale, s)
	}
	s := &session{name: rand.Text()}
	s.dir = filepath.Join(dir, s.name)
	for _, d := range []string{s.dir, filepath.Join(s.dir, "tmp")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return nil, err
		}
	}
	if s.lock, err = lockFile(filepath.Join(s.dir, "lock"), unix.LOCK_EX); err != nil {
		return nil, err
	}
	e.session = s
	return stale, nil
}

// lockFile opens a file, makes it if there is none, and locks it until it is closed.
func lockFile(name string, how int) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), f.Close())
	}
	return f, nil
}

// end removes the session's directory and gives up its lock. It removes the lock last, while holding it.
func (s *session) end() error {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	errs := []error{err}
	for _, d := range entries {
		if d.Name() != "lock" {
			errs = append(errs, os.RemoveAll(filepath.Join(s.dir, d.Name())))
		}
	}
	if errors.Join(errs...) == nil {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

// workName is a name for a layer that this session writes.
func (s *session) workName() string { return workPrefix + s.name + "/" + rand.Text() }

// removeLeftovers removes the layers that a session had been writing when it was killed.
func (e *Engine) removeLeftovers(sessionName string) error {
	layers, err := e.store.Layers()
	if err != nil {
		return err
	}
	var errs []error
	for _, layer := range layers {
		for _, name := range layer.Names {
			if strings.HasPrefix(name, workPrefix+sessionName+"/") {
				errs = append(errs, e.removeLeftover(layer.ID))
				break
			}
		}
	}
	return errors.Join(errs...)
}

// removeLeftover removes one layer, unless it had become a snapshot: an image with a name.
func (e *Engine) removeLeftover(layer string) error {
	images, err := e.store.ImagesByTopLayer(layer)
	if err != nil && !errors.Is(err, storage.ErrImageUnknown) {
		return err
	}
	finished := false
	for _, image := range images {
		if len(image.Names) > 0 {
			finished = true
			continue
		}
		if _, err := e.store.DeleteImage(image.ID, true); err != nil {
			return err
		}
	}
	if finished {
		return e.store.SetNames(layer, nil)
	}
	if err := e.store.DeleteLayer(layer); err != nil && !errors.Is(err, storage.ErrLayerUnknown) {
		return err
	}
	return nil
}
