/* enrich.pml: capture -> TTY -> two enrichers -> LOGS, for one operation (one subject of each stream) in one partition.
 *
 * What it models:
 *   Capture       pipeline/session/capture.go: chunks are published ahead of their acknowledgements, shown once those have come in
 *                 order, and repeated after a refusal (stuck: no new chunk is taken). The program starts once chunks 0 and 1 are recorded
 *   Tend          pipeline/session/recover.go: the end of a session whose gateway died is published after the last message
 *   NetTTY        a publish is stored, lost, late, or stored with a lost answer; Nats-Msg-Id, which the stream forgets with DEDUPE_FORGETS
 *   Enricher      enricher/partition.go and operation.go: open, postpone, applyPending, publish, giveUp, retryOpen, position, save
 *   NetLogs       the expected last sequence on the subject; answers that are lost, and messages that are late
 *   lease         bus/lease.go: a lease may expire at any time, and its holder may learn that at any later time (it was paused)
 *   save          bus/lease.go SaveProgress: by revision; where the answer is lost nobody knows whether it was done
 *
 * Switches (-D):
 *   C, U          chunks, and units of bytes of each; a segment ends after any unit (a line that is finished)
 *   STALE=n       Last may answer n times from a replica that lags: from an older state of LOGS
 *   DEDUPE_FORGETS the stream may store a repeat twice (more than two minutes later)
 *   PRESTORED     all chunks are on TTY at the beginning, and shown (SWAPPED: the last two of the data in the other order)
 *   ONE           one enricher, who may crash or lose its lease and return
 *   CRASH_E, CRASH_G, EXPIRE, LOSE: the number of crashes of enrichers, of the gateway, of expiries of the lease while its
 *                 holder lives, and of lost messages or answers
 * Faults that the checks must find (TestModel):
 *   PASS_OVER     a chunk of an operation that is not open is passed over, not held
 *   UNTIMELY      an enricher gives up on a chunk that is still to be stored and acknowledged
 *   NO_FENCE      LOGS takes a segment whatever the last sequence is
 *   POSITION_READ the position is what was read, not what is on LOGS
 */
#ifndef C
#define C 3
#endif
#ifndef U
#define U 1
#endif
#ifndef CRASH_E
#define CRASH_E 1
#endif
#ifndef CRASH_G
#define CRASH_G 1
#endif
#ifndef EXPIRE
#define EXPIRE 1
#endif
#ifndef LOSE
#define LOSE 2
#endif
#ifndef TRIES
#define TRIES 1
#endif
#ifndef W
#define W 2                      /* chunks under way at a time */
#endif
#define NE 2
#ifdef DEDUPE_FORGETS
#define T (C+4)                  /* messages of TTY at the most */
#else
#define T (C+2)
#endif
#define NU (C*U+1)               /* units, and the end */
#ifndef NS
#define NS 2
#endif
/* NS: segments under way, those of the dead too */

/* --- faults left */
#ifdef STALE
byte stales = STALE;
#endif
byte crashE = CRASH_E, crashG = CRASH_G, expire = EXPIRE, lose = LOSE;

/* --- capture */
mtype = { Run, Gone, Over };
mtype cst = Run;
byte taken, conf, tries;
bool stuck;
bool shown[C+1];
byte under[C+1];                 /* copies of a chunk under way to TTY */
bool first[C+1];                 /* the first of them is: on one connection, those are in order */
bool acked[C+1];

/* --- TTY: messages from 1 on */
byte tn;
byte toff[T], tord[T];           /* of the message n: [n-1] */
bool tend[T];
bool known[C+1];                 /* its ID is known */
bool endUnder; byte endExp, endOff, endOrd;

/* --- LOGS */
byte ln;                         /* segments: their sequence on the subject */
byte lto[NU+1];                  /* up to which unit the segment n reaches: [n] */
bool lended;
byte unit[NU];                   /* 0: not there, 1: as it was shown, 2: a gap, 3: the end */
byte logsEnd;                    /* units that are on LOGS */

/* --- segments under way */
bool sused[NS]; byte sfrom[NS], sto[NS], sgap[NS], sexp[NS], sown[NS]; bool sfin[NS];

/* --- lease and position */
byte lease;                      /* e+1, or 0 */
byte pos, owner;                 /* owner: e+1, who knows the revision of the position; 0: nobody */

/* --- enrichers */
mtype = { Idle, Leased, Work };
mtype st[NE];
byte rd[NE], mypos[NE];
bool opened[NE], ended[NE], fly[NE];
byte rec[NE], tak[NE], pub[NE], lastq[NE], gapm[NE];
byte fto[NE], fslot[NE];
byte posn[NE];                   /* what position gives */
byte eh[NE];                     /* where the first begins that is held; 255: none */
bool held[NE*T];
byte src[NE*T];                  /* end of the source + 1, or 0 */

byte i, j, k, n, low;            /* scratch: always 0 between steps */
bool b;

/* what was shown is on LOGS, or can still come there */
inline checkShown(x) {
  d_step {
    for (k : 0 .. U-1) {
        assert(unit[x*U+k] != 2);                         /* SHOWN, AND TOLD TO BE MISSING */
        assert(!(lended && unit[x*U+k] != 1));            /* SHOWN, AND BEHIND THE END, OR NEVER THERE */
    }
    k = 0;
  }
}

proctype Capture() {
end:
    do
    /* publish: the next chunk, whose predecessors may be under way; chunk C is the end */
    :: atomic { cst == Run && !stuck && taken <= C && taken - conf < W && (taken < 2 || conf >= 2) ->
        under[taken]++; first[taken] = true; taken++ }
    /* confirm, pass, show */
    :: atomic { cst == Run && conf < taken && acked[conf] ->
        if :: conf < C -> shown[conf] = true; checkShown(conf) :: else fi;
        conf++; stuck = false; tries = 0;
        if :: conf == C+1 -> cst = Over :: else fi }
    /* again: no answer in time, or a refusal; the first one may still be under way */
    :: atomic { cst == Run && conf < taken && !acked[conf] && tries < TRIES && under[conf] < 2 ->
        stuck = true; tries++; under[conf]++ }
    /* recordGrace is over */
    :: atomic { cst == Run && stuck && !acked[conf] && tries == TRIES -> cst = Gone }
    /* the gateway is killed */
    :: atomic { cst == Run && crashG > 0 && taken > 0 -> crashG--; cst = Gone }
    /* Recover, Tend: record the end behind all that there is */
    :: atomic { cst == Gone && !endUnder ->
        d_step { for (k : 1 .. tn) {
            if :: tend[k-1] -> b = true :: else fi;
            if :: tord[k-1] + 1 > low -> low = tord[k-1] + 1 :: else fi
        } k = 0 }
        if
        :: b -> cst = Over
        :: else -> endUnder = true; endExp = tn; endOrd = low; endOff = low*U
        fi;
        k = 0; low = 0; b = false }
    :: atomic { cst == Over -> break }
    od
}

#if NS > 2
#define FREE (!(sused[0] && sused[1] && sused[2]))
#define FIRSTFREE (!sused[0] -> 0 : (!sused[1] -> 1 : 2))
#else
#define FREE (!(sused[0] && sused[1]))
#define FIRSTFREE (!sused[0] -> 0 : 1)
#endif

inline append(off, ord, fin) {
    assert(tn < T);
    toff[tn] = off; tord[tn] = ord; tend[tn] = fin; tn++
}

/* the message i reaches the stream, or is lost; so is the answer */
inline deliver() {
    under[i]--; if :: under[i] == 0 -> first[i] = false :: else -> if :: first[i] -> first[i] = false :: else fi fi;
    if
    :: lose > 0 -> lose--
    :: !known[i] ->
        append(i*U, i, (i == C)); known[i] = true;
        if :: acked[i] = true :: lose > 0 -> lose-- fi
    :: known[i] -> if :: acked[i] = true :: lose > 0 -> lose-- fi
#ifdef DEDUPE_FORGETS
    :: known[i] && tn < T-2 -> append(i*U, i, (i == C)); acked[i] = true
#endif
    fi;
    i = 0
}

inline endDone() { endUnder = false; endExp = 0; endOff = 0; endOrd = 0 }

proctype NetTTY() {
end:
    do
    :: atomic { under[0] > 0 -> i = 0; deliver() }
    :: atomic { under[1] > 0 && (!first[1] || !first[0]) -> i = 1; deliver() }
    :: atomic { under[2] > 0 && (!first[2] || !(first[0] || first[1])) -> i = 2; deliver() }
#if C > 2
    :: atomic { under[3] > 0 && (!first[3] || !(first[0] || first[1] || first[2])) -> i = 3; deliver() }
#endif
#if C > 3
    :: atomic { under[4] > 0 && (!first[4] || !(first[0] || first[1] || first[2] || first[3])) -> i = 4; deliver() }
#endif
    :: atomic { endUnder && tn == endExp -> append(endOff, endOrd, true); endDone() }
    :: atomic { endUnder && tn != endExp -> endDone() }       /* refused: something came between */
    :: atomic { endUnder && lose > 0 -> lose--; endDone() }
    od
}

/* what an enricher has in its memory is gone */
inline forget(e) {
  d_step {
    opened[e] = false; ended[e] = false; fly[e] = false; rec[e] = 0; tak[e] = 0; pub[e] = 0; lastq[e] = 0; gapm[e] = 0;
    fto[e] = 0; rd[e] = 0; mypos[e] = 0; posn[e] = 0; eh[e] = 255;
    for (k : 0 .. T-1) { held[e*T+k] = false; src[e*T+k] = 0 }
    /* what is under way stays so, and nobody waits for it */
    for (k : 0 .. NS-1) { if :: sused[k] && sown[k] == e+1 -> sown[k] = 0 :: else fi }
    k = 0
  }
}

/* apply: the message n; b: it was ahead */
inline apply(e) {
  d_step {
    b = false;
    if
    :: ended[e]
    :: !ended[e] && rec[e] < toff[n-1] -> b = true
    :: !ended[e] && rec[e] >= toff[n-1] && tend[n-1] -> rec[e]++; ended[e] = true
    :: !ended[e] && rec[e] >= toff[n-1] && !tend[n-1] ->
        if :: toff[n-1]+U > rec[e] -> rec[e] = toff[n-1]+U :: else fi
    fi;
    if
    :: !b && pub[e] < rec[e] -> src[e*T+n-1] = rec[e]+1
    :: else
    fi
  }
}

inline releaseHeld(e) {
  d_step {
    i = 0;
    do
    :: i >= tn -> break
    :: i < tn && held[e*T+i] && (ended[e] || rec[e] >= toff[i]) ->
        if
        :: ended[e]
        :: !ended[e] && tend[i] -> rec[e]++; ended[e] = true
        :: !ended[e] && !tend[i] -> if :: toff[i]+U > rec[e] -> rec[e] = toff[i]+U :: else fi
        fi;
        if :: pub[e] < rec[e] -> src[e*T+i] = rec[e]+1 :: else fi;
        held[e*T+i] = false; i = 0
    :: i < tn && !(held[e*T+i] && (ended[e] || rec[e] >= toff[i])) -> i++
    od;
    i = 0; n = 0; b = false
  }
}

/* position, and where the first chunk begins that is held */
inline upd(e) {
  d_step {
    posn[e] = rd[e]; eh[e] = 255;
    for (k : 0 .. T-1) {
#ifdef POSITION_READ
        if :: held[e*T+k] && k < posn[e] -> posn[e] = k :: else fi;
#else
        if :: (held[e*T+k] || src[e*T+k] > 0) && k < posn[e] -> posn[e] = k :: else fi;
#endif
        if :: held[e*T+k] && toff[k] < eh[e] -> eh[e] = toff[k] :: else fi
    }
    k = 0
  }
}

inline save(e) {
  d_step {
    /* THE POSITION NEVER PASSES WHAT IS NOT ON LOGS */
    for (k : 1 .. posn[e]) {
        assert(lended || (!tend[k-1] && toff[k-1]+U <= logsEnd))
    }
    k = 0;
    pos = posn[e]
  }
}

/* a chunk between what was received and what is held can still come */
#define CAN(x) (x < C && x*U >= rec[e] && x*U < eh[e] && (known[x] || cst == Run))
#ifdef UNTIMELY
#define LATE (true)
#else
/* or it goes by a segment that is not the last one (STALE): what it gives up is refused then */
#define LATE (lastq[e] != ln || (!CAN(0) && !CAN(1) && !CAN(2) && !CAN(3)))
#endif

/* confirmed */
inline confirmed(e) {
  d_step {
    fly[e] = false; pub[e] = fto[e]; lastq[e] = ln; fto[e] = 0;
    for (k : 0 .. T-1) { if :: src[e*T+k] > 0 && src[e*T+k]-1 <= pub[e] -> src[e*T+k] = 0 :: else fi }
    k = 0
  };
  upd(e)
}

inline close(e) {
    if :: lease == e+1 -> lease = 0 :: else fi;
    forget(e); st[e] = Idle
}

inline answer(v) {
    if
    :: sown[i] > 0 ->
        j = sown[i]-1; sown[i] = 0;
        if
        :: v == 1 -> confirmed(j)
        :: v == 1 && lose > 0 -> lose--; close(j)
        :: v == 2 -> close(j)
        fi;
        j = 0
    :: else
    fi
}

proctype Enricher(byte e) {
end:
    do
    /* Acquire */
    :: atomic { st[e] == Idle && lease == 0 && !lended -> lease = e+1; st[e] = Leased }
    /* takePosition: by revision, so one step; then run begins */
    :: atomic { st[e] == Leased -> owner = e+1; mypos[e] = pos; rd[e] = pos; st[e] = Work; upd(e) }

    /* add */
    :: atomic { st[e] == Work && rd[e] < tn ->
        n = rd[e]+1;
        if
        :: !opened[e] ->
            /* open: the last segment that there is, or, with STALE, that there was */
            j = ln;
#ifdef STALE
            if
            :: stales > 0 -> stales--; do :: j > 0 -> j-- :: break od
            :: true
            fi;
#endif
            if
            :: j > 0 -> opened[e] = true; lastq[e] = j; rec[e] = lto[j]; tak[e] = lto[j]; pub[e] = lto[j]; ended[e] = (lended && j == ln)
            :: j == 0 && tord[n-1] == 0 -> opened[e] = true       /* chunk.Start */
            :: j == 0 && tord[n-1] > 0                            /* lastTries are over */
            fi;
            j = 0
        :: else
        fi;
        rd[e]++;
        if
        :: opened[e] ->
            apply(e);
            if
            :: b -> held[e*T+n-1] = true;
#ifndef PASS_OVER
                releaseHeld(e)           /* what was held before it was open */
#endif
            :: else -> releaseHeld(e)
            fi
        :: else ->
#ifndef PASS_OVER
            held[e*T+n-1] = true
#else
            skip                     /* passed over */
#endif
        fi;
        n = 0; b = false;
        upd(e) }

    /* publish: Take gives what is finished, up to any unit */
    :: atomic { st[e] == Work && opened[e] && !fly[e] && tak[e] < rec[e] && FREE ->
        i = FIRSTFREE;
        j = tak[e]+1;
        do :: j < rec[e] -> j++ :: break od;
        sused[i] = true; sfrom[i] = tak[e]; sto[i] = j; sexp[i] = lastq[e]; sown[i] = e+1; sfin[i] = (ended[e] && j == rec[e]);
        sgap[i] = gapm[e];
        fly[e] = true; fto[e] = j; tak[e] = j;
        i = 0; j = 0 }
    /* tick: save */
    :: atomic { st[e] == Work && posn[e] != mypos[e] ->
        if
        :: owner == e+1 -> save(e); mypos[e] = pos
        :: owner == e+1 && lose > 0 -> lose--; save(e); owner = 0; close(e)     /* the answer was lost: it does not know the revision */
        :: lose > 0 -> lose--; close(e)
        :: owner != e+1 -> close(e)                                            /* ErrLeaseLost */
        fi }
    /* giveUp */
    :: atomic { st[e] == Work && opened[e] && eh[e] != 255 && rec[e] < eh[e] && LATE ->
        d_step { for (k : 0 .. NU-1) { if :: k >= rec[e] && k < eh[e] -> gapm[e] = gapm[e] | (1 << k) :: else fi } k = 0;
        rec[e] = eh[e] }
        releaseHeld(e); upd(e) }
#ifndef PASS_OVER
    /* LOGS is asked again at a tick, for what is held of an operation that is not open */
    :: atomic { st[e] == Work && !opened[e] && eh[e] != 255 && ln > 0 ->
        opened[e] = true; lastq[e] = ln; rec[e] = lto[ln]; tak[e] = lto[ln]; pub[e] = lto[ln]; ended[e] = lended;
        releaseHeld(e); upd(e) }
    /* an operation whose first chunk never comes (its gateway has ended it) is passed over: a gap stands for that here */
    :: atomic { st[e] == Work && !opened[e] && eh[e] != 255 && cst != Run && !known[0] && ln == 0 ->
        opened[e] = true; releaseHeld(e); upd(e) }
#endif
    /* the lease is over, and it hears of that. The save at the end of run is one of those above */
    :: atomic { st[e] == Work && lease != e+1 -> close(e) }
    /* it is killed, at any step */
    :: atomic { st[e] != Idle && crashE > 0 -> crashE--;
        if :: lease == e+1 -> lease = 100+e :: else fi;           /* until its time is over */
        forget(e); st[e] = Idle }
    :: atomic { lended && st[e] == Idle -> break }
    od
}

/* leases end: of the dead always, of the living sometimes (they are paused) */
proctype Expiry() {
end:
    do
    :: atomic { lease >= 100 -> lease = 0 }
    :: atomic { lease > 0 && lease < 100 && expire > 0 -> expire--; lease = 0 }
    od
}

/* the segment i reaches the stream, or is lost */
inline arrive() {
    if
#ifdef NO_FENCE
    :: true ->
#else
    :: sexp[i] == ln ->
#endif
        /* EXACTLY WHAT COMES NEXT, ONCE */
        d_step {
        assert(sfrom[i] == logsEnd);
        assert(!lended);
        for (k : 0 .. NU-1) {
            if
            :: k >= sfrom[i] && k < sto[i] ->
                assert(unit[k] == 0);
                unit[k] = (((sgap[i] >> k) & 1) -> 2 : 1);
                if :: sfin[i] && k == sto[i]-1 -> unit[k] = 3 :: else fi;
                if :: k < C*U && unit[k] == 2 -> assert(!shown[k/U]) :: else fi
            :: else
            fi
        }
        k = 0;
        logsEnd = sto[i]; ln++; lto[ln] = sto[i];
        if
        :: sfin[i] -> lended = true;
            for (j : 0 .. C*U-1) { if :: shown[j/U] -> assert(unit[j] == 1) :: else fi }     /* SHOWN, AND NOT ON LOGS BEFORE THE END */
            j = 0
        :: else
        fi
        };
        answer(1)
    :: sexp[i] != ln -> answer(2)                   /* ErrFenced */
    :: lose > 0 -> lose--; answer(2)
    fi;
    sused[i] = false; sfrom[i] = 0; sto[i] = 0; sgap[i] = 0; sexp[i] = 0; sown[i] = 0; sfin[i] = false; i = 0
}

/* nobody answers in time, and it may still be stored */
inline timeout_() { lose--; answer(2); i = 0 }

proctype NetLogs() {
end:
    do
    :: atomic { sused[0] -> i = 0; arrive() }
    :: atomic { sused[1] -> i = 1; arrive() }
#if NS > 2
    :: atomic { sused[2] -> i = 2; arrive() }
#endif
    :: atomic { lose > 0 && sused[0] && sown[0] > 0 -> i = 0; timeout_() }
    :: atomic { lose > 0 && sused[1] && sown[1] > 0 -> i = 1; timeout_() }
#if NS > 2
    :: atomic { lose > 0 && sused[2] && sown[2] > 0 -> i = 2; timeout_() }
#endif
    od
}

init {
    atomic {
        st[0] = Idle; st[1] = Idle; eh[0] = 255; eh[1] = 255;
#ifdef PRESTORED
        for (i : 0 .. C-1) { shown[i] = true; known[i] = true; acked[i] = true; append(i*U, i, false) }
#ifdef SWAPPED
        toff[C-2] = (C-1)*U; tord[C-2] = C-1; toff[C-1] = (C-2)*U; tord[C-1] = C-2;
#endif
        known[C] = true; acked[C] = true; append(C*U, C, true); i = 0; taken = C+1; conf = C+1; cst = Over;
#else
        run Capture(); run NetTTY();
#endif
        run Enricher(0);
#ifndef ONE
        run Enricher(1);
#endif
        run NetLogs(); run Expiry()
    }
}

#ifdef LIVE
/* the end comes to LOGS, and checkShown holds then */
ltl done { <> lended }
#endif
