package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/oci"
)

// engine makes *oci.Engine a builder.Engine: Go wants the results of methods to have the very types of the interface.
type engine struct{ *oci.Engine }

func (e engine) Scratch(ctx context.Context) (builder.Rootfs, error) {
	c, err := e.Engine.Scratch(ctx)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (e engine) From(ctx context.Context, snapshot string) (builder.Rootfs, error) {
	c, err := e.Engine.From(ctx, snapshot)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// build carries a job out, inside the namespaces that oci.Reexec has made.
func build(ctx context.Context, j *job) (err error) {
	began := j.env.now()
	cacheDir, err := j.env.cacheDir()
	if err != nil {
		return err
	}
	// Without a resolv.conf, programs of the build just resolve no names.
	resolver, _ := os.ReadFile(filepath.Join(j.env.etc, "resolv.conf"))
	store, err := oci.Open(ctx, oci.EngineOptions{StateDir: filepath.Join(cacheDir, "store"), Resolver: resolver, Log: j.log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	client, err := j.archiveClient(filepath.Join(cacheDir, "packages"))
	if err != nil {
		return err
	}
	seed, now, err := j.seed()
	if err != nil {
		return err
	}
	lock, sources, err := builder.Resolve(ctx, j.spec, client, seed, now)
	if err != nil {
		return err
	}
	plan, err := builder.NewPlan(j.spec, lock)
	if err != nil {
		return err
	}
	x := &builder.Executor{
		Engine: engine{store}, Archive: client, TempDir: store.TempDir(), Environ: j.env.environ, Dir: j.env.dir,
		Resolver: resolver, Log: j.log, Output: logLines(j.log), Say: j.say,
	}
	result, err := x.Build(ctx, j.spec, plan, sources)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, result.Close()) }()
	if err := j.write(ctx, result, plan); err != nil {
		return err
	}
	j.say(fmt.Sprintf("done in %s", j.env.now().Sub(began).Round(time.Second)))
	return nil
}

// write makes the outputs of a finished root file system.
func (j *job) write(ctx context.Context, result *builder.Result, plan builder.Plan) error {
	o := j.spec.Options()
	if o.Pkglist {
		if err := result.WritePackageList(ctx); err != nil {
			return err
		}
	}
	if o.Tarball != "" {
		return result.WriteTarball(ctx, o.Tarball)
	}
	return result.WriteImage(ctx, plan.Disk)
}

// printPlan prints the steps of a job, with IDs that a build would choose anew.
func printPlan(_ context.Context, j *job) error {
	plan, err := builder.NewPlan(j.spec, builder.Lock{Codename: j.spec.Codename(), Seed: uuid.Max, Time: j.env.now()})
	if err != nil {
		return err
	}
	return plan.Print(j.out)
}

// archiveClient gets packages of the mirror, through a proxy if the environment names one.
func (j *job) archiveClient(dir string) (*archive.Client, error) {
	cache, err := archive.NewCache(dir)
	if err != nil {
		return nil, err
	}
	client := &archive.Client{
		HTTP: archive.NewHTTPClient(http.ProxyFromEnvironment), Cache: cache, Keyring: archive.DefaultKeyring(), Now: j.env.now(), Log: j.log,
	}
	trust := j.spec.Trust()
	client.NoCheck = trust.NoCheck
	if trust.Keyring != "" {
		f, err := os.Open(trust.Keyring)
		if err != nil {
			return nil, fmt.Errorf("--debootstrapopts keyring: %w", err)
		}
		defer f.Close()
		if client.Keyring, err = archive.ReadKeyring(f); err != nil {
			return nil, fmt.Errorf("--debootstrapopts keyring=%s: %w", trust.Keyring, err)
		}
	}
	return client, nil
}

// sourceDateEpoch is a convention of reproducible-builds.org: the time, in seconds since 1970, to record in what is built.
const sourceDateEpoch = "SOURCE_DATE_EPOCH"

// seed gives what the image's IDs come from and the time it records: random and now, unless SOURCE_DATE_EPOCH asks for
// the same image each time.
func (j *job) seed() (uuid.UUID, time.Time, error) {
	text := j.env.getenv(sourceDateEpoch)
	if text == "" {
		var seed uuid.UUID
		_, err := rand.Read(seed[:])
		return seed, j.env.now(), err
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 {
		return uuid.Nil, time.Time{}, fmt.Errorf("%s=%q is not a number of seconds since 1970", sourceDateEpoch, text)
	}
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://reproducible-builds.org/"+text)), time.Unix(seconds, 0).UTC(), nil
}
