/* route.pml: LOGS -> two workers of one drain and partition -> the drain.
 *
 * What it models:
 *   lease, position   bus/lease.go: Acquire, takePosition (a new epoch), SaveProgress (by revision; the answer may be lost)
 *   begin             router/worker.go, position.go open: the position holds what was delivered ahead of it (DeliveredAhead)
 *   fetch, window     router/dispatch.go and window.go: batches in flight have no operation in common
 *   try               router/deliver.go: a request is answered or not; partly delivered, and the drain says so or not; or arrives later
 *   orderly end       router/dispatch.go, window.go split: what was delivered ahead of the position goes into DeliveredAhead
 *   abandon           router/loss.go abandon, gapnote.go: notes with pending gaps are saved by their revision; the move of the
 *                     position commits them under the worker's epoch; then they are settled
 *   gap records       router/loss.go deliverGaps: committed gaps are delivered, and their notes deleted by revision
 *   the stream        removes what is old, which is abandoned before (GAPS)
 *
 * Switches: N segments of R records (SAMEOP: of one operation); GAPS; CRASH, EXPIRE, LOSE, CANCEL: how many of each.
 *   FALSEGAP checks, too, that no record comes first after a gap record about it. A request that arrives late (LOSE), or that a
 *   worker has in flight whose lease expired (EXPIRE), may do that.
 * Faults that the checks must find (TestModel):
 *   UNFENCED      notes are saved and deleted whatever their revision is
 *   UNCOMMITTED   pending gaps count as soon as they are saved
 *   PASS_READ     the position passes segments that were read and not delivered
 *   SPLIT_MORE    one record too many of a batch counts as delivered
 *   SHARE_OP      batches in flight have operations in common
 */
#ifndef N
#define N 3
#endif
#ifndef R
#define R 1
#endif
#ifndef CRASH
#define CRASH 1
#endif
#ifndef EXPIRE
#define EXPIRE 1
#endif
#ifndef LOSE
#define LOSE 1
#endif
#ifndef CANCEL
#define CANCEL 1
#endif
#define NR (N*R)
#define NW 2
#define NZ 1

/* the operation of a segment 0..N-1: 0, 1, 0, 1 (with SAMEOP all of one) */
#ifdef SAMEOP
#define OP(s) 0
#else
#define OP(s) ((s) % 2)
#endif
#define SEG(r) ((r) / R)
#define ALL(s) (((1 << R) - 1) << ((s)*R))

byte crash = CRASH, expire = EXPIRE, lose = LOSE, cancelled = CANCEL;

/* the drain */
byte got;                       /* records that it has, by bits */
byte told;                      /* records of which a gap record told */

/* the stream: segments up to aged are due to be given up; up to removed they are not there any more */
byte aged, removed;

/* positions bucket */
byte pos, reached, owner;       /* owner: w+1, who knows the revision */
byte beyond[N];                 /* the first so many records of a segment */
byte epoch;                     /* of the last who took the position */
#define NEPOCH 8
byte aband[NEPOCH];             /* up to which segment an epoch has abandoned */
/* gaps bucket: a note for each operation */
byte gmask[2];                  /* settled gaps */
byte gpend[2], gep[2], gfrom[2], gun[2];    /* pending gaps, their epoch, and the segments from..until that they are of */
byte grev[2];                   /* revisions */
byte lease;

/* workers */
mtype = { Idle, Leased, Begin, Tell, Told, Work, Give, Given, Move, Settle, Settled };
mtype st[NW];
byte rd[NW], deliv[NW], mypos[NW];
byte in[NW*N];                  /* 0: not read, 1: waits, 2, 3: in a batch, 4: delivered */
byte wb[NW*N];                  /* w.beyond */
byte skipd[NW*N];               /* skipped of the holding */
byte left[NW*2];                /* of a batch: the records that are not known to be at the drain */
byte lg[NW*2], lp[NW*2], lrev[NW*2];        /* of the notes that were read: settled and pending gaps, and revisions */
byte ep[NW];                    /* epochs */
byte gto[NW];

byte zombie[NZ];                /* requests that arrive later */

byte k, j, m, s, x;             /* scratch */
bool b;

#ifdef UNCOMMITTED
#define COMMITTED(o) (gpend[o] != 0)
#else
#define COMMITTED(o) (gpend[o] != 0 && gun[o] <= aband[gep[o]])
#endif
#ifdef UNFENCED
#define CURRENT(w, o) (true)
#else
#define CURRENT(w, o) (lrev[w*2+o] == grev[o])
#endif

/* settle: reads the note of o */
#define STALE(w) ((gpend[0] != 0 && gep[0] > ep[w]) || (gpend[1] != 0 && gep[1] > ep[w]))
inline readNote(w, o) {
    lg[w*2+o] = (COMMITTED(o) -> gmask[o] | gpend[o] : gmask[o]); lrev[w*2+o] = grev[o]
}
/* what is left of the note of o once its settled gaps were delivered: pending gaps of segments that may still be abandoned */
inline deleteNote(w, o) {
    gmask[o] = 0; grev[o]++;
    if :: COMMITTED(o) || gun[o] <= reached -> gpend[o] = 0; gep[o] = 0; gfrom[o] = 0; gun[o] = 0 :: else fi;
    lg[w*2+o] = 0
}

/* WHAT IS UP TO THE POSITION IS AT THE DRAIN, OR NOTED, OR TOLD */
inline check() {
  d_step {
    for (k : 0 .. N-1) {
        if :: k < pos -> assert((got | told | gmask[0] | gmask[1] | (COMMITTED(0) -> gpend[0] : 0) | (COMMITTED(1) -> gpend[1] : 0)) & ALL(k) == ALL(k)) :: else fi
    }
    for (k : 0 .. N-1) { assert(beyond[k] == 0 || (got >> (k*R)) & ((1 << beyond[k]) - 1) == (1 << beyond[k]) - 1) }     /* BEYOND IS AT THE DRAIN */
    k = 0
  }
}

/* records x arrive at the drain, in their order */
inline arrive() {
  d_step {
    for (k : 0 .. NR-1) {
        if
        :: (x >> k) & 1 && !((got >> k) & 1) ->
            /* FIRST APPEARANCES ARE IN ORDER */
            for (j : 0 .. NR-1) {
                if :: j < k && OP(SEG(j)) == OP(SEG(k)) -> assert(((got | told) >> j) & 1) :: else fi
            }
            j = 0;
#ifdef FALSEGAP
            assert(!((told >> k) & 1));
#endif
            got = got | (1 << k)
        :: else
        fi
    }
    k = 0
  }
}

inline forget(w) {
  d_step {
    st[w] = Idle; rd[w] = 0; deliv[w] = 0; mypos[w] = 0; gto[w] = 0;
    for (k : 0 .. N-1) { in[w*N+k] = 0; wb[w*N+k] = 0; skipd[w*N+k] = 0 }
    for (k : 0 .. 1) { left[w*2+k] = 0; lg[w*2+k] = 0; lp[w*2+k] = 0; lrev[w*2+k] = 0 }
    ep[w] = 0;
    k = 0
  }
}

inline close(w) {
    if :: lease == w+1 -> lease = 0 :: else fi;
    forget(w)
}

byte commits;                   /* the epoch whose pending gaps this save commits; 0 for none */

/* SaveProgress of deliv and w.beyond; b: it was done */
inline save(w) {
    b = false;
    if
    :: owner == w+1 ->
        d_step {
        if :: commits > 0 -> aband[commits] = deliv[w] :: else fi;
        pos = deliv[w]; mypos[w] = deliv[w]; reached = (pos > reached -> pos : reached);
        for (k : 0 .. N-1) { beyond[k] = (k >= pos -> wb[w*N+k] : 0) }
        k = 0
        };
        check(); b = true
    :: owner != w+1
    :: lose > 0 && owner == w+1 -> lose--; owner = 0;     /* the answer is lost: it was done, or not */
        if
        :: d_step { if :: commits > 0 -> aband[commits] = deliv[w] :: else fi; pos = deliv[w]; reached = (pos > reached -> pos : reached); for (k : 0 .. N-1) { beyond[k] = (k >= pos -> wb[w*N+k] : 0) } k = 0 }; check()
        :: true
        fi
    fi
}

/* pass */
inline pass(w) {
  d_step {
    k = deliv[w];
    do
#ifdef PASS_READ
    :: k < rd[w] && in[w*N+k] != 1 -> wb[w*N+k] = 0; k++
#else
    :: k < rd[w] && in[w*N+k] == 4 -> wb[w*N+k] = 0; k++
#endif
    :: else -> break
    od;
    deliv[w] = k; k = 0
  }
}

/* a try of the batch y: requests of records left[w*2+y] */
inline try(w, y) {
    m = left[w*2+y];
    if
    /* delivered, and confirmed */
    :: x = m; arrive(); left[w*2+y] = 0
    /* not delivered, and that is known, or not */
    :: lose > 0 -> lose--
    /* delivered, and the answer is lost */
    :: lose > 0 -> lose--; x = m; arrive()
    /* a part of it is delivered: the first record; the drain tells that, or nobody knows */
    :: m != 0 && (m & (m-1)) != 0 ->
        x = m & (255 - (m-1)) & 255;
        x = m & (m ^ (m-1));
        arrive(); left[w*2+y] = m & (m-1)
    :: lose > 0 && (m & (m-1)) != 0 -> lose--; x = m & (m ^ (m-1)); arrive()
    /* it arrives later */
    :: lose > 0 && zombie[0] == 0 -> lose--; zombie[0] = m
    fi;
    x = 0; m = 0;
    if
    :: left[w*2+y] == 0 ->
        d_step { for (k : 0 .. N-1) { if :: in[w*N+k] == 2+y -> in[w*N+k] = 4 :: else fi } k = 0 };
        pass(w)
    :: else
    fi
}

/* an operation has a segment in the other batch (z is 2 or 3) */
#ifdef SHARE_OP
#define busyOp(w, o, z) (false)
#elif N == 2
#define busyOp(w, o, z) ((in[w*N+0] == z && OP(0) == o) || (in[w*N+1] == z && OP(1) == o))
#else
#define busyOp(w, o, z) ((in[w*N+0] == z && OP(0) == o) || (in[w*N+1] == z && OP(1) == o) || (in[w*N+2] == z && OP(2) == o))
#endif
#define some(w, v) (in[w*N+0] == v || in[w*N+1] == v || (N > 2 && in[w*N+N-1] == v))
#define startable(w, y) (!some(w, 2+y) && ((in[w*N+0] == 1 && !busyOp(w, OP(0), 3-y)) || (in[w*N+1] == 1 && !busyOp(w, OP(1), 3-y)) || (N > 2 && in[w*N+N-1] == 1 && !busyOp(w, OP(N-1), 3-y))))

/* next: a batch y of the first segments that wait and whose operations have none under way; of one, or of all that can be */
inline next(w, y) {
    b = false;      /* more than the first */
    if :: b = true :: true fi;
    d_step {
    m = 0; j = 0;
    for (k : 0 .. N-1) {
        if
        :: in[w*N+k] == 1 && !busyOp(w, OP(k), 3-y) && (j == 0 || b) ->
            in[w*N+k] = 2+y; j = 1;
            m = m | (ALL(k) & (255 - (((1 << skipd[w*N+k]) - 1) << (k*R))))
        :: in[w*N+k] == 1 && !(!busyOp(w, OP(k), 3-y) && (j == 0 || b)) -> j = (j == 1 -> 2 : j)
        :: in[w*N+k] != 1
        fi
    }
    left[w*2+y] = m; m = 0; j = 0; k = 0; b = false
    }
}
/* route ends in order: what is at the drain behind the position is noted */
inline orderly(w) {
    d_step {
    for (k : 0 .. N-1) {
        if
        :: in[w*N+k] == 4 && k >= deliv[w] -> wb[w*N+k] = R
        :: in[w*N+k] == 2 || in[w*N+k] == 3 ->
            /* split: the first records of it that are not left */
            j = 0; m = left[w*2+in[w*N+k]-2];
            do :: j < R && !((m >> (k*R+j)) & 1) -> j++ :: else -> break od;
#ifdef SPLIT_MORE
            j++;
#endif
            if :: j > 0 -> wb[w*N+k] = j :: else fi;
            j = 0; m = 0
        :: else
        fi;
    }
    for (k : 0 .. N-1) { in[w*N+k] = 0; skipd[w*N+k] = 0 }
    left[w*2] = 0; left[w*2+1] = 0; k = 0
    }
}

/* saves the pending gaps of o by the revision of the note that was read */
inline saveNote(w, o, then) {
    if
    :: lp[w*2+o] == 0 -> st[w] = then
    :: lp[w*2+o] != 0 && CURRENT(w, o) ->
        d_step { gmask[o] = lg[w*2+o]; gpend[o] = lp[w*2+o]; gep[o] = ep[w]; gfrom[o] = (deliv[w] > reached -> deliv[w] : reached); gun[o] = gto[w];
        grev[o]++; lrev[w*2+o] = grev[o] };
        st[w] = then
    :: lp[w*2+o] != 0 && !CURRENT(w, o) -> close(w)
    fi;
    check()
}

/* Commit: the pending gaps of o become settled ones */
inline settleNote(w, o, then) {
    if
    :: lp[w*2+o] == 0 -> lg[w*2+o] = 0; lrev[w*2+o] = 0; st[w] = then
    :: lp[w*2+o] != 0 && CURRENT(w, o) ->
        d_step { gmask[o] = lg[w*2+o] | lp[w*2+o]; gpend[o] = 0; gep[o] = 0; gfrom[o] = 0; gun[o] = 0; grev[o]++; lg[w*2+o] = 0; lp[w*2+o] = 0; lrev[w*2+o] = 0 };
        st[w] = then
    :: lp[w*2+o] != 0 && !CURRENT(w, o) -> close(w)
    fi;
    check()
}

proctype Worker(byte w) {
end:
    do
    :: atomic { st[w] == Idle && lease == 0 && pos < N -> lease = w+1; st[w] = Leased }
    /* takePosition, begin */
    :: atomic { st[w] == Leased -> owner = w+1; mypos[w] = pos; deliv[w] = pos;
        d_step { for (k : 0 .. N-1) { wb[w*N+k] = beyond[k] } k = 0 }
        epoch++; ep[w] = epoch; assert(epoch < NEPOCH);
        st[w] = Begin }
    :: atomic { st[w] == Begin ->
        rd[w] = deliv[w];
#ifdef GAPS
        if
        :: STALE(w) -> close(w)
        :: else ->
            d_step { readNote(w, 0); readNote(w, 1) }
            if :: lg[w*2] + lg[w*2+1] > 0 -> st[w] = Tell :: else -> lrev[w*2] = 0; lrev[w*2+1] = 0; st[w] = Work fi
        fi
#else
        st[w] = Work
#endif
        }
#ifdef GAPS
    :: atomic { st[w] == Tell ->
        told = told | lg[w*2] | lg[w*2+1];       /* delivered; if not, it is tried again */
        check();
        if :: st[w] = Told :: lose > 0 -> lose--; close(w) fi }
    /* DeleteGaps, of each operation */
    :: atomic { st[w] == Told && lg[w*2] > 0 ->
        if :: CURRENT(w, 0) -> d_step { deleteNote(w, 0) }; check() :: !CURRENT(w, 0) -> close(w) fi }
    :: atomic { st[w] == Told && lg[w*2] == 0 && lg[w*2+1] > 0 ->
        if :: CURRENT(w, 1) -> d_step { deleteNote(w, 1) }; check() :: !CURRENT(w, 1) -> close(w) fi }
    :: atomic { st[w] == Told && lg[w*2] == 0 && lg[w*2+1] == 0 -> lrev[w*2] = 0; lrev[w*2+1] = 0; st[w] = Work }

    /* giveUp: the first that the drain never had is due. Batches in flight are ended first, as at any orderly end (errOverdue) */
    :: atomic { st[w] == Work && (deliv[w] > reached -> deliv[w] : reached) < aged ->
        orderly(w); save(w);
        if
        :: b && !STALE(w) -> b = false;
            /* giveUpSome: reads the notes, and what the drain has acknowledged */
            gto[w] = aged;
            d_step {
            readNote(w, 0); readNote(w, 1);
            x = (deliv[w] > reached -> deliv[w] : reached);
            for (k : 0 .. 1) {
                /* the pending gaps of an earlier tenure that examined the same segments are resumed */
                if :: gpend[k] != 0 && !COMMITTED(k) && gfrom[k] == x && gun[k] <= aged -> lp[w*2+k] = gpend[k]; m = gun[k] :: else -> m = x fi;
                for (j : 0 .. N-1) {
                    if
                    :: OP(j) == k && j >= m && j < aged -> lp[w*2+k] = lp[w*2+k] | (ALL(j) & (255 - (((1 << wb[w*N+j]) - 1) << (j*R))))
                    :: else
                    fi
                }
            }
            k = 0; j = 0; m = 0; x = 0
            }
            st[w] = Give
        :: !(b && !STALE(w)) -> b = false; close(w)
        fi }
    /* SaveGaps, of each operation */
    :: atomic { st[w] == Give -> saveNote(w, 0, Given) }
    :: atomic { st[w] == Given -> saveNote(w, 1, Move) }
    /* Abandon: the position and the epoch's abandonment are one write */
    :: atomic { st[w] == Move ->
        deliv[w] = gto[w];
        d_step { for (k : 0 .. N-1) { if :: k < deliv[w] -> wb[w*N+k] = 0 :: else fi } k = 0 }
        commits = ep[w]; save(w); commits = 0;
        if :: b -> b = false; st[w] = Settle :: else -> close(w) fi }
    :: atomic { st[w] == Settle -> settleNote(w, 0, Settled) }
    :: atomic { st[w] == Settled -> settleNote(w, 1, Begin); if :: st[w] == Begin -> gto[w] = 0 :: else fi }
#endif

    /* fetch, add */
    :: atomic { st[w] == Work && rd[w] < N ->
        s = rd[w]; rd[w]++;
        if
        :: s < removed -> in[w*N+s] = 4            /* it is not there any more: nothing comes of it, and the position moves past it */
        :: s >= removed && wb[w*N+s] >= R -> in[w*N+s] = 4; skipd[w*N+s] = R
        :: s >= removed && wb[w*N+s] < R -> in[w*N+s] = 1; skipd[w*N+s] = wb[w*N+s]
        fi;
        s = 0;
        pass(w) }
    /* start of a batch; of two at the most */
    :: atomic { st[w] == Work && startable(w, 0) -> next(w, 0) }
    :: atomic { st[w] == Work && startable(w, 1) && some(w, 2) -> next(w, 1) }
    :: atomic { st[w] == Work && some(w, 2) -> try(w, 0) }
    :: atomic { st[w] == Work && some(w, 3) -> try(w, 1) }
    /* tick */
    :: atomic { st[w] == Work && deliv[w] != mypos[w] -> save(w); if :: b -> b = false :: else -> close(w) fi }
    /* ctx ends: other settings, a stop, a pause; batches under way are given up, then the position is saved, if that succeeds */
    :: atomic { st[w] == Work && cancelled > 0 -> cancelled--; orderly(w); save(w); b = false; close(w) }
    /* it hears that its lease is over: that is an orderly end too */
    :: atomic { st[w] == Work && lease != w+1 -> orderly(w); save(w); b = false; close(w) }
    :: atomic { st[w] != Idle && st[w] != Leased && st[w] != Work && lease != w+1 -> close(w) }
    :: atomic { st[w] != Idle && crash > 0 -> crash--; if :: lease == w+1 -> lease = 100 :: else fi; forget(w) }
    :: atomic { pos == N && st[w] == Idle -> break }
    od
}

proctype World() {
end:
    do
    :: atomic { lease == 100 -> lease = 0 }
    :: atomic { lease > 0 && lease < 100 && expire > 0 -> expire--; lease = 0 }
    :: atomic { zombie[0] > 0 -> x = zombie[0]; arrive(); x = 0; zombie[0] = 0 }
#ifdef GAPS
    :: atomic { aged < N -> aged++ }
    /* the stream removes what was given up long before; nobody is late, and the margin is much longer than anybody can miss the end of a lease
       (without that, -DLONGPAUSE, a worker that was paused for so long reads on behind what was removed, before a gap was told) */
#ifdef LONGPAUSE
    :: atomic { removed < aged && reached > removed -> removed++ }
#else
    :: atomic { removed < aged && reached > removed && (st[0] == Idle || (lease == 1 && owner == 1)) && (st[1] == Idle || (lease == 2 && owner == 2)) -> removed++ }
#endif
#endif
    od
}

init { atomic { st[0] = Idle; st[1] = Idle; run Worker(0); run Worker(1); run World() } }

#ifdef LIVE
ltl done { <> (pos == N) }
#endif
