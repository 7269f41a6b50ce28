// SPDX-License-Identifier: Apache-2.0

// Package registry copies, inspects and fetches images of registries, OCI image layouts and the caller's
// container store (go.podman.io/image). Registry has a helper process do each of these, this very program
// under another name (Main): the libraries look at the environment for credentials and configuration, and the
// caller's must not become that of the program. The helper gets its request on its standard input, so that no
// argument and no environment of a process shows a secret.
//
// Pull is the one function that works where the caller is, without a helper.
package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	istorage "go.podman.io/image/v5/storage"
	imagetypes "go.podman.io/image/v5/types"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/process"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// What is done with images of registries, layouts and other stores is done by this program in another
// process, the helper.

// request is what the helper reads on its standard input.
type request struct {
	Do string
	// Image is in the words of containers-transports(5).
	Image string
	// Layout is the directory of an image that is copied or written, Layers are those that are fetched, to the directory
	// Dir.
	Layout string
	Layers []types.RemoteLayer
	Dir    string
	// Artifacts are manifests of the layout that refer to the image.
	Artifacts []types.Artifact
	// Architecture and Variant choose between images for several.
	Architecture, Variant string
	// File says that what is written is open as fdCopyFile.
	File bool
	// Progress says that fdProgress is open, see writeProgress.
	Progress bool

	// Env is the caller's environment, in which credentials may be.
	Env []string

	SkipTLSVerify bool
	TempDir       string
	AuthFile      string
	// Caller is the user whose credentials are used, as seen from outside of the user namespace.
	Caller int
}

// The values of imageOrder.Do.
const (
	doCopy    = "copy"
	doCheck   = "check"
	doInspect = "inspect"
	doFetch   = "fetch"
	doExport  = "export"
)

// Files of the helper.
const (
	// fdCopyFile is the file that the helper writes to.
	fdCopyFile = 3
	// fdProgress is a pipe for the bytes that were copied.
	fdProgress = 4
)

// statusNoImage is the helper's exit status if there is no such image.
const statusNoImage = 2

// copyGrace is how long a helper that was told to end may clean up.
const copyGrace = 10 * time.Second

// envRegistryAuthFile names a file of credentials (containers-auth.json(5)). podman and skopeo read it, the
// library that they use does not.
const envRegistryAuthFile = "REGISTRY_AUTH_FILE"

// Registry works on images of registries, layouts and other stores, by a helper process of its own each.
type Registry struct {
	// Temp is a directory for large temporary files.
	Temp string
	// Caller is the user whose configuration and store are used, as seen from outside of the user namespace; 0 is root.
	Caller int
	// Mounts says that this process may make mount namespaces.
	Mounts bool
	// Log receives what the libraries print.
	Log io.Writer
}

// imageHelper has the helper carry an order out, in the caller's environment, and returns its answer. The error wraps
// fs.ErrNotExist if there is no such image.
func (r *Registry) imageHelper(ctx context.Context, order request, environ []string, file *os.File,
	progress func(bytes int64)) ([]byte, error) {
	order.TempDir, order.Env, order.Caller = r.Temp, environ, r.Caller
	env := append([]string{}, process.EarlyVariables(environ)...)
	for _, kv := range environ {
		if name, value, _ := strings.Cut(kv, "="); name == envRegistryAuthFile {
			order.AuthFile = value
		}
	}
	if r.Caller != 0 {
		// By these the libraries know whose configuration and store to use (go.podman.io/storage, pkg/unshare).
		env = append(env, "_CONTAINERS_USERNS_CONFIGURED=done", "_CONTAINERS_ROOTLESS_UID="+strconv.Itoa(r.Caller))
	}
	data, err := json.Marshal(order)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args, cmd.Env, cmd.Stdin = []string{process.NameImage}, env, bytes.NewReader(data)
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = copyGrace
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if r.Mounts {
		// A store is mounted over itself while it is open; that goes with the helper.
		cmd.SysProcAttr.Unshareflags = unix.CLONE_NEWNS
	}
	if file != nil {
		cmd.ExtraFiles = []*os.File{file}
	}
	if order.Progress {
		ours, theirs, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		cmd.ExtraFiles = []*os.File{file, theirs}
		read := make(chan struct{})
		go func() {
			defer close(read)
			readProgress(ours, progress)
		}()
		defer func() {
			_ = theirs.Close() // the end for readProgress
			<-read
			_ = ours.Close()
		}()
	}
	var answer bytes.Buffer
	cmd.Stdout, cmd.Stderr = &answer, r.Log
	// Pdeathsig comes when the thread ends, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.As(err, &exit) && exit.ExitCode() == statusNoImage:
		return nil, fmt.Errorf("%s: %w", answer.String(), fs.ErrNotExist)
	case err != nil && answer.Len() > 0:
		return nil, errors.New(answer.String())
	}
	return answer.Bytes(), err
}

// Main is the helper. It prints its answer, or what went wrong.
func Main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	logrus.SetLevel(logrus.WarnLevel)
	process.Hide()
	process.KeepFiles()
	var order request
	var answer any
	err := json.NewDecoder(os.Stdin).Decode(&order) //nolint:forbidigo // the helper's order
	if err == nil {
		process.SetEnvironment(append(os.Environ(), order.Env...))          //nolint:forbidigo // for the libraries
		if !strings.HasPrefix(order.Image, istorage.Transport.Name()+":") { // podman keeps more in that directory
			err = order.findCredentials()
		}
	}
	if err == nil {
		answer, err = order.run(ctx)
	}
	if err == nil && answer != nil {
		err = json.NewEncoder(os.Stdout).Encode(answer) //nolint:forbidigo // the helper's answer
	}
	if err == nil {
		return
	}
	fmt.Print(err)
	if isNoImage(err) {
		process.Exit(statusNoImage)
	}
	process.Exit(1)
}

// run carries the order out.
func (o request) run(ctx context.Context) (answer any, err error) {
	if o.File {
		transport, rest, _ := strings.Cut(o.Image, ":")
		_, name, named := strings.Cut(rest, ":")
		o.Image = fmt.Sprintf("%s:/proc/self/fd/%d", transport, fdCopyFile)
		if named {
			o.Image += ":" + name
		}
	}
	switch o.Do {
	case doCopy:
		return nil, o.copy(ctx)
	case doCheck:
		return nil, o.check(ctx)
	case doInspect:
		return o.inspect(ctx)
	case doFetch:
		return nil, o.fetch(ctx)
	case doExport:
		return nil, o.export(ctx)
	default:
		return nil, fmt.Errorf("BUG: order %q", o.Do)
	}
}

// sharedCredentials has the credentials of users without a runtime directory, see containers-auth.json(5).
const sharedCredentials = "/run/containers"

// runtimeDir returns a directory for $XDG_RUNTIME_DIR where that is not set, or "" if the library finds the
// credentials by itself, in base. It looks there for those of the uid that this process has, which in a user
// namespace is 0, and fails if it may not look: on a host where root has used podman, base is closed to
// others. No credentials are no error.
func runtimeDir(base string, caller, uid int, temp string) (string, error) {
	own := filepath.Join(base, strconv.Itoa(caller))
	f, err := os.Open(filepath.Join(own, "auth.json"))
	if err == nil {
		f.Close()
		if caller == uid {
			return "", nil
		}
		if err := os.Symlink(own, filepath.Join(temp, "containers")); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		return temp, nil
	}
	if caller == uid && !errors.Is(err, fs.ErrPermission) {
		return "", nil
	}
	return temp, nil
}

// findCredentials makes the library look for the caller's credentials.
func (o request) findCredentials() error {
	const variable = "XDG_RUNTIME_DIR"
	if o.AuthFile != "" || os.Getenv(variable) != "" { //nolint:forbidigo // that of the library
		return nil
	}
	dir, err := runtimeDir(sharedCredentials, o.Caller, os.Getuid(), o.TempDir)
	if err != nil || dir == "" {
		return err
	}
	return os.Setenv(variable, dir)
}

// systemContext leaves certificates, credentials and what is said of registries to the files of go.podman.io/image.
func (o request) systemContext() *imagetypes.SystemContext {
	system := &imagetypes.SystemContext{
		AuthFilePath:            o.AuthFile,
		BigFilesTemporaryDir:    o.TempDir,
		BlobInfoCacheDir:        filepath.Join(o.TempDir, "blob-info"),
		DockerRegistryUserAgent: "vmdebootstrap",
	}
	if o.SkipTLSVerify {
		system.DockerInsecureSkipTLSVerify = imagetypes.OptionalBoolTrue
	}
	return system
}
