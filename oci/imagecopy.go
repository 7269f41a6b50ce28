package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/signature"
	istorage "github.com/containers/image/v5/storage"
	"github.com/containers/image/v5/transports/alltransports"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage"
	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// ImageCopy says where an image goes.
type ImageCopy struct {
	// Layout is a directory, an OCI image layout with one image.
	Layout string
	// Destination is in the words of containers-transports(5): "docker://…" for a registry, "containers-storage:…" for the
	// caller's own store, that of podman, "docker-archive:…" for a file.
	Destination string
	// File takes the place of the file that Destination names; nil if it names none. It must be empty.
	File *os.File
	// Environ is the caller's environment: it tells where credentials and the store are.
	Environ []string
	// SkipTLSVerify talks to registries without certificates, and without TLS.
	SkipTLSVerify bool
}

// CopyImage copies an image out of an OCI layout. Credentials are those of $REGISTRY_AUTH_FILE, podman's auth.json or
// docker's config.json; what is in the store of the caller's podman is owned as podman itself would have it.
//
// The work is done by this program in another process, with the caller's environment: the libraries ask the environment
// for many things, and an Engine needs it otherwise.
func (e *Engine) CopyImage(ctx context.Context, c ImageCopy) error {
	if err := e.copyImage(ctx, c, false); err != nil {
		return fmt.Errorf("write %s: %w", c.Destination, err)
	}
	return nil
}

// CheckDestination finds out, without an image, whether a registry answers and takes the caller's credentials, and whether
// the caller's store can be opened. Of a directory ("dir:…") it finds out whether Unpack can make one.
func (e *Engine) CheckDestination(ctx context.Context, c ImageCopy) error {
	switch transport, _, _ := strings.Cut(c.Destination, ":"); transport {
	case "dir":
		return needUsers(c.Destination)
	case istorage.Transport.Name():
		if err := needUsers("the store of podman"); err != nil {
			return err
		}
	}
	if err := e.copyImage(ctx, c, true); err != nil {
		return fmt.Errorf("reach %s: %w", c.Destination, err)
	}
	return nil
}

// copyOrder is what the helper reads on its standard input.
type copyOrder struct {
	Layout, Destination string
	SkipTLSVerify       bool
	TempDir             string
	AuthFile            string
	CheckOnly           bool
	File                bool // is open as fdCopyFile
}

// fdCopyFile is the file that the helper writes to.
const fdCopyFile = 3

// copyGrace is how long a helper that was told to end may clean up.
const copyGrace = 10 * time.Second

// envRegistryAuthFile names a file of credentials (containers-auth.json(5)). podman and skopeo read it, the library that
// they use does not.
const envRegistryAuthFile = "REGISTRY_AUTH_FILE"

// copyImage has the helper do the work.
func (e *Engine) copyImage(ctx context.Context, c ImageCopy, checkOnly bool) error {
	order := copyOrder{
		Layout: c.Layout, Destination: c.Destination, SkipTLSVerify: c.SkipTLSVerify, TempDir: e.TempDir(),
		CheckOnly: checkOnly, File: c.File != nil,
	}
	env := append([]string{}, c.Environ...)
	for _, kv := range c.Environ {
		if name, value, _ := strings.Cut(kv, "="); name == envRegistryAuthFile {
			order.AuthFile = value
		}
	}
	if caller != 0 {
		// By these the libraries know whose configuration and store to use (containers/storage, pkg/unshare).
		env = append(env, "_CONTAINERS_USERNS_CONFIGURED=done", "_CONTAINERS_ROOTLESS_UID="+strconv.Itoa(caller))
	}
	data, err := json.Marshal(order)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args, cmd.Env, cmd.Stdin = []string{nameCopy}, env, bytes.NewReader(data)
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = copyGrace
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if isolation != IsolationChroot {
		// A store is mounted over itself while it is open; that goes with the helper.
		cmd.SysProcAttr.Unshareflags = unix.CLONE_NEWNS
	}
	if c.File != nil {
		cmd.ExtraFiles = []*os.File{c.File}
	}
	var answer bytes.Buffer
	cmd.Stdout, cmd.Stderr = &answer, &logWriter{e.options.Log}
	// Pdeathsig comes when the thread ends, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Run()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil && answer.Len() > 0:
		return errors.New(answer.String())
	}
	return err
}

// copyMain is the helper. It prints what went wrong.
func copyMain() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	logrus.SetLevel(logrus.WarnLevel)
	var order copyOrder
	err := json.NewDecoder(os.Stdin).Decode(&order) //nolint:forbidigo // the helper's order
	if err == nil {
		err = order.run(ctx)
	}
	if err != nil {
		fmt.Print(err) //nolint:forbidigo // the helper's answer
		exit(1)
	}
}

// run carries the order out.
func (o copyOrder) run(ctx context.Context) (err error) {
	if o.File {
		transport, rest, _ := strings.Cut(o.Destination, ":")
		_, name, named := strings.Cut(rest, ":")
		o.Destination = fmt.Sprintf("%s:/proc/self/fd/%d", transport, fdCopyFile)
		if named {
			o.Destination += ":" + name
		}
	}
	dst, err := alltransports.ParseImageName(o.Destination)
	if err != nil {
		return err
	}
	system := o.systemContext()
	if o.CheckOnly {
		return check(ctx, dst, system)
	}
	src, err := layout.NewReference(o.Layout, "")
	if err != nil {
		return err
	}
	// The image is our own.
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: []signature.PolicyRequirement{signature.NewPRInsecureAcceptAnything()},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, policy.Destroy()) }()
	_, err = copy.Image(ctx, policy, dst, src, &copy.Options{
		SourceCtx: system, DestinationCtx: system,
		// An archive of docker has a manifest of its own, without compression. Everywhere else the digest stays.
		PreserveDigests: !o.File,
	})
	return err
}

// check writes nothing.
func check(ctx context.Context, dst types.ImageReference, system *types.SystemContext) (err error) {
	if dst.Transport().Name() == istorage.Transport.Name() {
		options, err := storage.DefaultStoreOptions()
		if err != nil {
			return err
		}
		store, err := storage.GetStore(options)
		if err != nil {
			return err
		}
		_, err = store.Shutdown(false)
		return err
	}
	d, err := dst.NewImageDestination(ctx, system)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	// Any digest will do: the question needs the right to push.
	_, _, err = d.TryReusingBlob(ctx, types.BlobInfo{Digest: digest.FromString(nameCopy), Size: -1}, none.NoCache, false)
	return err
}

// systemContext leaves certificates, credentials and what is said of registries to the files of containers/image.
func (o copyOrder) systemContext() *types.SystemContext {
	system := &types.SystemContext{
		AuthFilePath:            o.AuthFile,
		BigFilesTemporaryDir:    o.TempDir,
		BlobInfoCacheDir:        filepath.Join(o.TempDir, "blob-info"),
		DockerRegistryUserAgent: "vmdebootstrap",
	}
	if o.SkipTLSVerify {
		system.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	}
	return system
}
