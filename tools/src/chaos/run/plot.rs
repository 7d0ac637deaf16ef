//! The timeline as a picture.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::timeline::{Bucket, Happened, Timeline};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Failed = DrawingAreaErrorKind<std::io::Error>;

const HEIGHT: u32 = 620;
/// Wide enough for a fault's name above its band.
const WIDTH_A_FAULT: u32 = 26;

/// Writes an SVG: acknowledged sends a second, then the slowest send, both with the faults behind them.
pub(super) fn draw(timeline: &Timeline, path: &Path) -> Result<(), String> {
    let faults = u32::try_from(timeline.faults.len()).unwrap_or(u32::MAX);
    let width = faults.saturating_mul(WIDTH_A_FAULT).clamp(1200, 6000);
    let area = SVGBackend::new(path, (width, HEIGHT)).into_drawing_area();
    let drawn = both(timeline, &area).and_then(|()| area.present());
    drawn.map_err(|error| format!("{}: {error}", path.display()))
}

fn both(timeline: &Timeline, area: &Area<'_>) -> Result<(), Failed> {
    area.fill(&WHITE)?;
    let title =
        format!("{} of {} nodes, seed {}: sends acknowledged a second", timeline.target, timeline.nodes, timeline.seed);
    let (above, below) = area.split_vertically(HEIGHT * 6 / 10);
    let a_second = 1000.0 / timeline.bucket_ms as f64;
    let rate = |bucket: &Bucket| f64::from(bucket.acknowledged) * a_second;
    chart(timeline, &above, &title, rate, &BLUE, true)?;
    let slowest = |bucket: &Bucket| bucket.slowest_ms as f64 / 1000.0;
    chart(timeline, &below, "slowest send acknowledged, in seconds", slowest, &RED, false)
}

fn chart(
    timeline: &Timeline,
    area: &Area<'_>,
    title: &str,
    value: impl Fn(&Bucket) -> f64,
    color: &RGBColor,
    named: bool,
) -> Result<(), Failed> {
    let seconds = |at: usize| at as f64 * timeline.bucket_ms as f64 / 1000.0;
    let highest = timeline.buckets.iter().map(&value).fold(1.0, f64::max) * if named { 1.6 } else { 1.1 };
    let end = seconds(timeline.buckets.len().max(1));
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 20))
        .margin(8)
        .x_label_area_size(30)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..end, 0.0..highest)?;
    let band = |fault: &Happened| {
        let (from, to) = (fault.began_ms as f64 / 1000.0, fault.healed_ms as f64 / 1000.0);
        Rectangle::new([(from, 0.0), (to.max(from + 0.2), highest)], color_of(fault).mix(0.25).filled())
    };
    chart.draw_series(timeline.faults.iter().map(band))?;
    chart.configure_mesh().disable_x_mesh().x_desc("seconds").light_line_style(WHITE.mix(0.0)).draw()?;
    let points = timeline.buckets.iter().enumerate().map(|(at, bucket)| (seconds(at), value(bucket)));
    chart.draw_series(LineSeries::new(points, color))?;
    if named {
        let style = ("sans-serif", 14).into_font().transform(FontTransform::Rotate90);
        let names = timeline.faults.iter().map(|fault| {
            let who: Vec<String> = fault.nodes.iter().map(ToString::to_string).collect();
            let at = (fault.began_ms as f64 / 1000.0 + end * 0.004, highest * 0.98);
            Text::new(format!("{} {}", fault.kind, who.join(",")), at, style.clone())
        });
        chart.draw_series(names)?;
    }
    Ok(())
}

/// Late or lost is red; what came back in time is gray.
fn color_of(fault: &Happened) -> RGBColor {
    match fault.back_after_ms {
        Some(_) => RGBColor(120, 120, 120),
        None => RED,
    }
}
